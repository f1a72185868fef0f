// Options through the program: helps at several widths, the reference page, options without effect.
#include <algorithm>
#include <sstream>

#include "cli/command.h"
#include "cli/help.h"
#include "measure/random_model.h"
#include "tests/support/program.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {
namespace {

using test::Program;

std::vector<std::string> words_of(const std::string& key) {
  for (const auto& command : commands()) {
    for (const auto& keys : command.keys) {
      for (const auto& field : keys.fields) {
        if (command.name + "." + field.key == key) return field.check.words;
      }
    }
  }
  ADD_FAILURE() << key;
  return {};
}

TEST(CommandHelps, FitTheirWidth) {
  for (const size_t width : {60, 100, 160}) {
    for (const auto& command : commands()) {
      std::istringstream lines(help_of(command, width));
      for (std::string line; std::getline(lines, line);) {
        const bool one_word = line.find(' ', line.find_first_not_of(' ')) == std::string::npos;
        EXPECT_TRUE(line.size() <= width || one_word) << width << ": " << line;
      }
    }
  }
}

TEST(CommandHelps, SayEverything) {
  for (const auto& command : commands()) {
    EXPECT_FALSE(command.about.empty()) << command.name;
    EXPECT_FALSE(command.usage.empty()) << command.name;
    EXPECT_FALSE(command.examples.empty()) << command.name;
    const auto help = help_of(command, 100);
    for (const auto& keys : command.keys) {
      for (const auto& field : keys.fields)
        EXPECT_NE(help.find("\n  " + field.key + "="), std::string::npos) << command.name << " " << field.key;
    }
  }
}

// The declarations do not include later rooms; their lists must match those rooms.
TEST(CommandHelps, ListWhatIsThere) {
  std::vector<std::string> shapes, layouts;
  const auto add = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const auto& model : recipe_models()) add(shapes, model.shape), add(layouts, model.layout);
  const auto sorted = [](std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    return names;
  };
  EXPECT_EQ(sorted(words_of("bench.shapes")), sorted(shapes));
  EXPECT_EQ(sorted(words_of("bench.layouts")), sorted(layouts));
  EXPECT_EQ(sorted(words_of("tokenize.tokenizer")), sorted(tokenizer_names()));
}

TEST_F(Program, HelpsTakeTheWidthOfTheTerminal) {
  const auto longest = [](const std::string& text) {
    size_t most = 0;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) most = std::max(most, line.size());
    return most;
  };
  EXPECT_LE(longest(shell("COLUMNS=60 \"$LT2\" help generate").out), 60u);
  const auto wide = longest(shell("COLUMNS=160 \"$LT2\" generate --help").out);
  EXPECT_GT(wide, 100u);
  EXPECT_LE(wide, 160u);
  EXPECT_LE(longest(shell("unset COLUMNS; \"$LT2\" help generate").out), 100u);
}

TEST_F(Program, TheReferencePageIsThatOfThisProgram) {
  const auto page = run("help --markdown");
  ASSERT_EQ(page.status, 0) << page.err;
  // Not EXPECT_EQ of whole pages: the first line that differs says more.
  std::istringstream now(page.out), kept(read_file(LT2_SOURCE_DIR "/docs/configuration.md"));
  for (int number = 1;; ++number) {
    std::string a, b;
    const bool more = static_cast<bool>(std::getline(now, a)), more_kept = static_cast<bool>(std::getline(kept, b));
    ASSERT_TRUE(a == b && more == more_kept)
        << "docs/configuration.md:" << number << " is \"" << b << "\", the program prints \"" << a
        << "\"; write it again: lt2 help --markdown >docs/configuration.md";
    if (!more) break;
  }
}

TEST_F(Program, OptionsWithoutEffectAreRefused) {
  struct Case {
    std::string line;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {"bench config=tiny.yaml shapes=plain", {"shapes", "with your own model"}},
      {"bench config=tiny.yaml layouts=gdn", {"layouts", "with your own model"}},
      {"bench config=tiny.yaml minutes=1", {"minutes", "outside the grid"}},
      {"bench config=tiny.yaml prompts=1k", {"prompts", "outside the grid"}},
      {"bench config=tiny.yaml memory=1G", {"memory", "outside the grid"}},
      {"bench config=tiny.yaml mode=decode recompute=loop", {"recompute", "mode=train"}},
      {"bench config=tiny.yaml grid=default recompute=loop", {"recompute", "mode=train"}},
      {"bench config=tiny.yaml mode=train contexts=1k", {"contexts", "seq_len"}},
      {"bench config=tiny.yaml grid=default mode=decode prompts=1k", {"prompts", "mode=prefill"}},
      {"bench config=tiny.yaml grid=default mode=prefill contexts=1k", {"contexts", "prompts"}},
      {"bench label=a", {"label", "without your own model"}},
      {"bench minutes=0.01 recompute=none", {"recompute", "mode=train"}},
      {"bench frontier=24G mode=decode", {"mode", "frontier"}},
      {"bench frontier=24G contexts=1k", {"contexts", "frontier"}},
      {"bench frontier=24G seconds=1", {"seconds", "frontier"}},
      {"bench frontier=24G minutes=1", {"minutes", "outside the grid"}},
      {"bench mode=train", {"the grid does not train"}},
      {"bench config=tiny.yaml seq_len=64 contexts=64", {"seq_len stands for contexts"}},
      {"bench model.dim=64", {"model.dim=64", "config=FILE"}},
      {"report run port=8000", {"port", "without live"}},
      {"report run --live output=x.html", {"output", "with live"}},
      {"convert in=run out=x to=lt2 dtype=bf16", {"dtype", "to=lt2"}},
      {"convert in=run out=x to=official shard_size=5GB", {"shard_size", "to=official"}},
      {"quantize ckpt=run out=x tokens=100", {"tokens", "text=FILE"}},
      {"quantize ckpt=run out=x window=100", {"window", "text=FILE"}},
      {"tokenize mode=decode bos=true in=text.txt", {"bos", "mode=decode"}},
      {"tokenize mode=decode eos=true in=text.txt", {"eos", "mode=decode"}},
      {"tokenize mode=decode parse_special=true in=text.txt", {"parse_special", "mode=decode"}},
      {"tokenize specials=gpt2 in=text.txt", {"specials", "tokenizer=tiktoken"}},
      {"tokenize path=x in=text.txt", {"path", "tokenizer=bytes"}},
      {"launch --nproc 2 nodes=2 -- train config=tiny.yaml", {"nodes", "without --slurm"}},
      {"launch --nproc 2 --dry-run -- train config=tiny.yaml", {"--dry-run", "--slurm"}},
      {"inspect ckpt=run model.dim=64", {"model.dim=64", "cannot be overridden"}},
      {"train config=tiny.yaml -- steps=5", {"lt2 train: unexpected --", "only lt2 launch"}},
      {"report run --live true output=x.html", {"output", "with live"}},
      {"report run --live false port=8000", {"port", "without live"}},
      {"generate ckpt=run --prompt --x", {"--prompt needs a value", "write prompt=--x"}},
      {"generate ckpt=run prompt=x --seed", {"--seed needs a value"}}};
  for (const auto& [line, words] : cases) expect_error(line, words);
}

TEST_F(Program, ATrainingKeyGivenAgainIsReported) {
  struct Case {
    std::string words, note;  // empty: none
  };
  const std::vector<Case> cases = {
      {"steps=1 steps=2", "ignored: steps=1 (steps=2 comes after it)"},
      {"--steps 1 steps=2", "ignored: --steps=1 (steps=2 comes after it)"},
      {"data.sources.a=1 'data.sources[a]=2'", "ignored: data.sources.a=1 (data.sources[a]=2 comes after it)"},
      {"data.sources.a-b=1 data.sources.a_b=2", ""},
      {"'model={dim: 64}' 'model={n_layers: 2}'", ""},
      {"steps=1 model.dim=64", ""}};
  for (const auto& [words, note] : cases) {
    const auto result = run("inspect config=tiny.yaml " + words);
    EXPECT_EQ(result.status, 0) << words << "\n" << result.err;
    EXPECT_EQ(result.err.find("comes after it") == std::string::npos, note.empty()) << words << "\n" << result.err;
    EXPECT_NE(result.err.find(note), std::string::npos) << words << "\n" << result.err;
  }
}

TEST_F(Program, ExitsAndSamplingWithoutEffectAreRefusedOrReported) {
  ASSERT_EQ(run("train config=tiny.yaml steps=2").status, 0);
  const std::string generate = "generate ckpt=run prompt=line max_gen_len=2 ";
  expect_error(generate + "early_exit=defer", {"early_exit=defer has no effect", "early_exit_step"});
  EXPECT_EQ(run(generate + "early_exit=defer early_exit_step=0").status, 0);
  for (const char* key : {"top_k=3", "top_p=0.5", "min_p=0.1", "seed=7"}) {
    const auto result = run(generate + key);
    const std::string name(key, std::string(key).find('='));
    EXPECT_NE(result.err.find("ignored: " + name + " (temperature=0"), std::string::npos) << key << result.err;
    EXPECT_EQ(run(generate + "temperature=1 " + key).err.find("ignored: "), std::string::npos) << key;
  }
  EXPECT_NE(run(generate + "temperature=1 top_k=3 top_p=0.5").err.find("ignored: top_k=3 (top_p wins"),
            std::string::npos);
}

}  // namespace
}  // namespace lt2
