// Generated text, stop texts, sessions and conversations in every kind of vocabulary: what is shown is what the tokens
// say, and a session holds the tokens.
#include <nlohmann/json.hpp>
#include <sstream>

#include "checkpoint/safetensors.h"
#include "tests/support/program.h"
#include "tests/support/vocabularies.h"

namespace lt2::test {
namespace {

using Ids = std::vector<int32_t>;

Ids joined(std::vector<Ids> parts) {
  Ids all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

class Talking : public Program {
 protected:
  void train(const VocabularyCase& c, const std::string& more = "") {
    tokenizer_ = make_vocabulary(c);
    const auto file = vocabulary_file(c, root_);
    const auto result = run("train config=tiny.yaml steps=2 data.tokenizer.name=" + c.kind +
                            (file.empty() ? "" : " data.tokenizer.path=" + file) +
                            (c.kind == "tiktoken" ? " data.tokenizer.specials=gpt2" : "") +
                            (bos() ? "" : " data.add_bos=false data.add_eos=false") + more);
    ASSERT_EQ(result.status, 0) << result.err;
  }
  bool bos() const { return tokenizer_->bos_id() >= 0; }
  Ids begin(const std::string& text) const { return tokenizer_->encode(text, bos(), false); }
  Ids rest(const std::string& text) const { return tokenizer_->encode(text, false, false, {.continues = true}); }

  // Makes the model say these tokens, which are all different, and no more.
  static std::string saying(const Ids& ids) {
    std::string bias;
    for (size_t i = 0; i < ids.size(); ++i) bias += fmt::format("{}{}: {}", i ? ", " : "", ids[i], 1000000 - 1000 * i);
    return fmt::format("ckpt=run dtype=fp32 presence_penalty=500000 max_gen_len={} logit_bias='{{{}}}' ", ids.size(),
                       bias);
  }
  std::string output(const std::string& arguments) {
    const auto result = run("generate " + arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }
  Ids session() const {
    const auto tokens = SafetensorsFile(root_ / "s.safetensors").tensor("prefix.tokens");
    return {tokens.data_ptr<int32_t>(), tokens.data_ptr<int32_t>() + tokens.numel()};
  }
  // Lines typed into a conversation; what it answers.
  std::string talk(const std::string& lines, const std::string& arguments) {
    std::ofstream(root_ / "said.txt") << lines;
    const auto command = fmt::format("cd '{}' && '{}' generate chat=true {} <said.txt >out 2>err", root_.string(),
                                     LT2_PROGRAM, arguments);
    EXPECT_EQ(std::system(command.c_str()), 0) << read_file(root_ / "err");
    return read_file(root_ / "out");
  }
  std::unique_ptr<Tokenizer> tokenizer_;
};

class TalkingIn : public Talking, public ::testing::WithParamInterface<VocabularyCase> {
 protected:
  void SetUp() override {
    Talking::SetUp();
    train(GetParam());
  }
};

TEST_P(TalkingIn, AnAnswerGoesOnFromThePrompt) {
  const auto ids = rest("ng isxy");
  EXPECT_EQ(output(saying(ids) + "prompt='the ki'"), "ng isxy\n");
  EXPECT_EQ(output(saying(rest(" isxy")) + "prompt='the king'"), " isxy\n");
  EXPECT_EQ(output(saying(ids) + "prompt='the ki' until='[\" is\"]'"), "ng\n");
  const auto json = nlohmann::json::parse(output(saying(ids) + "prompt='the ki' logprobs=1"));
  std::string pieces;
  for (const auto& token : json["tokens"]) pieces += token["text"].get<std::string>();
  EXPECT_EQ(json["text"], "ng isxy");
  EXPECT_EQ(pieces, "ng isxy");
  // Also where the vocabulary has no word for what was asked.
  for (const std::string prompt : {"☃", "你好"})
    EXPECT_EQ(output(saying(rest(" isxy")) + "prompt=" + prompt), " isxy\n");
  if (!bos()) return;
  // An answer with nothing before it begins a text.
  const auto alone = tokenizer_->encode("isxy", false, false);
  EXPECT_EQ(output(saying(alone) + "prompt=''"), tokenizer_->decode(alone) + "\n");
}

TEST_P(TalkingIn, ASessionHoldsWhatWasReadAndSaid) {
  const auto first = rest("ng"), second = rest(" is");
  EXPECT_EQ(output(saying(first) + "prompt='the ki' state=s.safetensors"), "ng\n");
  EXPECT_EQ(session(), joined({begin("the ki"), first}));
  EXPECT_EQ(output(saying(second) + "prompt=' k' state=s.safetensors"), " is\n");
  EXPECT_EQ(session(), joined({begin("the ki"), first, rest(" k"), second}));
  auto ids = session();
  if (bos()) ids.erase(ids.begin());
  EXPECT_EQ(tokenizer_->decode(ids), tokenizer_->decode(tokenizer_->encode("the king k is", false, false)));
  // A stop text and everything after it are not part of the text.
  EXPECT_EQ(output(saying(rest("ng isxy")) + "prompt='the ki' until='[\" i\"]' state=t.safetensors"), "ng\n");
  std::filesystem::rename(root_ / "t.safetensors", root_ / "s.safetensors");
  EXPECT_EQ(session(), joined({begin("the ki"), rest("ng")}));
}

TEST_P(TalkingIn, AConversationIsItsTurns) {
  const auto answer = rest(" isxy");
  EXPECT_EQ(talk("the king\nits<|im_end|>\n", saying(answer) + "state=s.safetensors"), " isxy\n isxy\n");
  const int32_t start = tokenizer_->mark_id("<|im_start|>"), end = tokenizer_->mark_id("<|im_end|>");
  const auto ids = session();
  const auto asked = Ids(ids.begin(), std::search(ids.begin(), ids.end(), answer.begin(), answer.end()));
  if (end < 0) {
    EXPECT_EQ(asked, begin("User: the king\nAssistant:"));
    EXPECT_EQ(ids, joined({asked, answer, rest("\nUser: its<|im_end|>\nAssistant:"), answer}));
    return;
  }
  EXPECT_EQ(asked,
            joined({begin(""), {start}, rest("user\nthe king"), {end}, rest("\n"), {start}, rest("assistant\n")}));
  // Two marks at each answer's and each question's end, and none that was typed.
  EXPECT_EQ(std::count(ids.begin(), ids.end(), start), 4);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), end), 3);
  if (GetParam().any_byte) {
    EXPECT_NE(tokenizer_->decode(ids).find("its<|im_end|>"), std::string::npos);
  }
}

// A vocabulary with a chat template next to it.
class TalkingByTemplate : public Talking {
 protected:
  void train_with(const std::string& chat_template) {
    std::ofstream(root_ / "chat_template.jinja") << chat_template;
    train(vocabulary_cases()[5]);
  }
};

TEST_F(TalkingByTemplate, AConversationIsWrittenByTheFoldersTemplate) {
  train_with(
      "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}");
  const int32_t start = tokenizer_->mark_id("<|im_start|>"), end = tokenizer_->mark_id("<|im_end|>");
  const auto answer = rest(" isxy");
  // The template's end mark ends an answer.
  const auto says = saying(joined({answer, {end}})) + "state=s.safetensors";
  EXPECT_EQ(talk("the king\nits<|im_end|>\n", says), " isxy\n isxy\n");
  const auto err = read_file(root_ / "err");
  EXPECT_NE(err.find("chat_template.jinja; an empty line"), std::string::npos) << err;
  EXPECT_EQ(err.find("anew"), std::string::npos) << err;
  auto ids = session();
  EXPECT_EQ(ids[0], start);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), start), 4);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), end), 3);
  EXPECT_NE(tokenizer_->decode(ids).find("its<|im_end|>"), std::string::npos);
  // The session continues.
  EXPECT_EQ(talk("the king\n", says), " isxy\n");
  const auto later = session();
  ASSERT_GT(later.size(), ids.size());
  EXPECT_TRUE(std::equal(ids.begin(), ids.end(), later.begin()));
  EXPECT_EQ(later[ids.size()], end);
  // Every file of the folder that is read is verified.
  std::ofstream(root_ / "run/checkpoints/0000000002/chat_template.jinja") << "another";
  const auto result = run("generate ckpt=run prompt=x");
  EXPECT_NE(result.status, 0);
  EXPECT_NE(result.err.find("chat_template.jinja"), std::string::npos) << result.err;
}

TEST_F(TalkingByTemplate, ATemplateThatFailsIsOneLine) {
  train_with("{% if true %}\n{{ raise_exception('closed') }}{% endif %}");
  EXPECT_EQ(talk("the king\n", "ckpt=run dtype=fp32 max_gen_len=3"), "");
  const auto err = read_file(root_ / "err");
  EXPECT_NE(err.find("chat_template.jinja:2: raised by the template: closed\n"), std::string::npos) << err;
}

std::vector<VocabularyCase> some_cases() {
  std::vector<VocabularyCase> some;
  for (const auto& c : vocabulary_cases()) {
    if (c.name != "tiktoken" && c.name != "metaspace_first" && c.name != "metaspace_never") some.push_back(c);
  }
  return some;
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, TalkingIn, ::testing::ValuesIn(some_cases()),
                         [](const auto& i) { return i.param.name; });

class Saying : public Talking {
 protected:
  void SetUp() override {
    Talking::SetUp();
    train({.name = "bytes", .kind = "bytes", .file = ""});
  }
};

TEST_F(Saying, AByteIsNotTheLettersThatShowIt) {
  EXPECT_EQ(output(saying({'a', 0xd2, 'b', 'x', 'c'}) + "prompt=p until='[\"x\"]' state=s.safetensors"), "a\\xd2b\n");
  EXPECT_EQ(session(), joined({begin("p"), {'a', 0xd2, 'b'}}));
  EXPECT_EQ(talk("p\n", saying({0xd2, 'b', 'c'}) + "state=u.safetensors"), "\\xd2bc\n");
  std::filesystem::rename(root_ / "u.safetensors", root_ / "s.safetensors");
  EXPECT_EQ(session(), joined({begin("User: p\nAssistant:"), {0xd2, 'b', 'c'}}));
}

TEST_F(Saying, AByteOrderMarkIsNoPartOfWhatIsSaid) {
  std::ofstream(root_ / "bom.txt") << "\xef\xbb\xbfp";
  for (const std::string prompt : {"prompt_file=bom.txt </dev/null", "<bom.txt", "prompt_file=/dev/stdin <bom.txt"}) {
    const auto result = shell("\"$LT2\" generate " + saying({'b'}) + "state=s.safetensors " + prompt);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(session(), joined({begin("p"), {'b'}})) << prompt;
    std::filesystem::remove(root_ / "s.safetensors");
  }
  EXPECT_EQ(talk("\xef\xbb\xbfp\n", saying({'b'}) + "state=s.safetensors"), "b\n");
  EXPECT_EQ(session(), joined({begin("User: p\nAssistant:"), {'b'}}));
}

TEST_F(Saying, ASessionGoesOnUnderAnotherExitRule) {
  const auto exits = [&](const std::string& arguments) {
    std::vector<int64_t> loops;
    const auto json = nlohmann::json::parse(output("ckpt=run dtype=fp32 max_gen_len=3 logprobs=1 " + arguments));
    for (const auto& token : json["tokens"]) loops.push_back(token["exit_loop"]);
    return loops;
  };
  using Loops = std::vector<int64_t>;
  EXPECT_EQ(exits("prompt='line 7' early_exit_step=0 state=s.safetensors"), (Loops{0, 0, 0}));
  EXPECT_EQ(exits("prompt='' state=s.safetensors"), (Loops{1, 1, 1}));
  const auto said = read_file(root_ / "err");
  EXPECT_NE(said.find("saved with early_exit_step=0, continued with all loops"), std::string::npos) << said;
  EXPECT_EQ(exits("prompt='' early_exit_step=0 state=s.safetensors"), (Loops{0, 0, 0}));
  EXPECT_EQ(exits("prompt='x' early_exit_step=1 state=s.safetensors"), (Loops{1, 1, 1}));
  EXPECT_NE(read_file(root_ / "err").find("known)"), std::string::npos);
}

// A lone space in front of a text is not shown where runs of spaces are squeezed, nor is the next token's then.
TEST_F(Talking, ATextBeginsAtOnePlaceForAllThatIsShownOfIt) {
  train({.name = "sp_unigram", .kind = "sp", .file = "sp_unigram/tokenizer.model", .json = {}, .any_byte = false});
  int32_t space = 0;
  while (tokenizer_->token_bytes(space) != " ") ++space;
  const auto ids = joined({{space}, rest(" the king")});
  const std::string ask = saying(ids) + "prompt='' ";
  EXPECT_EQ(output(ask), "the king\n");
  EXPECT_EQ(output(ask + "until='[\" the\"]'"), "the king\n");
  EXPECT_EQ(output(ask + "until='[\"e k\"]'"), "th\n");
  std::string pieces;
  const auto json = nlohmann::json::parse(output(ask + "logprobs=2"));
  for (const auto& token : json["tokens"]) {
    pieces += token["text"].get<std::string>();
    for (const auto& other : token["likeliest"]) {
      if (other["id"] == token["id"]) {
        EXPECT_EQ(other["text"], token["text"]);
      }
    }
  }
  EXPECT_EQ(json["text"], "the king");
  EXPECT_EQ(pieces, "the king");
}

// Every word of this vocabulary begins with a space.
TEST_F(Talking, SamplesOfARunGoOnFromTheirPrompt) {
  auto file = nlohmann::json::parse(R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},
      {"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}]},"decoder":{"type":"Metaspace","replacement":"▁",
      "prepend_scheme":"always"},"model":{"type":"BPE","vocab":{"▁line":0,"▁the":1,"▁quick":2,"▁brown":3,"▁fox":4},
      "merges":[],"ignore_merges":true}})");
  train({.name = "words", .kind = "hf", .file = "", .json = file},
        " val.every=1 val.prompt='the quick' val.sample_len=4");
  const auto samples = nlohmann::json::parse(read_file(root_ / "run/samples.json"));
  ASSERT_FALSE(samples.empty());
  for (const auto& sample : samples) EXPECT_EQ(sample["text"].get<std::string>().substr(0, 1), " ") << sample;
}

}  // namespace
}  // namespace lt2::test
