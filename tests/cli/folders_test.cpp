// Every form in which weights are written opens anywhere, alone, and its texts begin and end as the run's do.
#include <nlohmann/json.hpp>

#include "folders/packed_folder.h"
#include "folders/write_model.h"
#include "infer/text_session.h"
#include "tests/support/program.h"

namespace lt2::test {
namespace {

using nlohmann::json;

/// A kind of vocabulary, and for a tokenizer.json the file that names its marks.
struct VocabularyCase {
  std::string name, kind, marks_in = {};
};
std::ostream& operator<<(std::ostream& out, const VocabularyCase& c) { return out << c.name; }

const std::string kBos = "<|im_start|>", kEos = "<|im_end|>";

class Folders : public Program, public ::testing::WithParamInterface<VocabularyCase> {
 protected:
  void SetUp() override {
    Program::SetUp();
    before_ = fs::current_path();
    fs::create_directories(root_ / "vocabulary");
    fs::create_directories(root_ / "elsewhere");
    const fs::path given = fs::path(LT2_TEST_DATA) / "tokenizer";
    const auto& c = GetParam();
    if (c.kind == "tiktoken") {  // the bytes and the first merges
      std::ifstream ranks(given / "gpt2/gpt2.tiktoken");
      std::ofstream out(root_ / "vocabulary/few.tiktoken");
      std::string line;
      for (int i = 0; i < 300 && std::getline(ranks, line); ++i) out << line << "\n";
      file_ = "vocabulary/few.tiktoken";
    } else if (c.kind == "sp") {
      fs::copy_file(given / "sp_bpe/tokenizer.model", root_ / "vocabulary/shakespeare.model");
      file_ = "vocabulary/shakespeare.model";
    } else if (c.kind == "hf") {
      write_tokenizer_json(json::parse(read_file(given / "smollm2_style/tokenizer.json")));
    }
  }
  void TearDown() override {
    fs::current_path(before_);
    Program::TearDown();
  }
  void write_tokenizer_json(json vocabulary) {
    file_ = "vocabulary/tokenizer.json";
    const auto put = [&](const std::string& name, const json& content) {
      std::ofstream(root_ / "vocabulary" / name) << content.dump();
    };
    const auto mark = [](const std::string& token) { return json{{"SpecialToken", {{"id", token}, {"type_id", 0}}}}; };
    if (GetParam().marks_in == "tokenizer.json") {
      vocabulary["post_processor"] = {
          {"type", "TemplateProcessing"},
          {"single", {mark(kBos), {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, mark(kEos)}},
          {"pair", json::array()},
          {"special_tokens",
           {{kBos, {{"id", kBos}, {"ids", {1}}, {"tokens", {kBos}}}},
            {kEos, {{"id", kEos}, {"ids", {2}}, {"tokens", {kEos}}}}}}};
    } else {
      put(GetParam().marks_in, {{"bos_token", kBos}, {"eos_token", {{"content", kEos}}}, {"pad_token", kEos}});
    }
    put("tokenizer.json", vocabulary);
    for (const char* name : {"vocab.json", "added_tokens.json"}) put(name, json::object());
    for (const char* name : {"merges.txt", "chat_template.jinja"}) std::ofstream(root_ / "vocabulary" / name) << name;
  }
  // A run of two steps that names its vocabulary by a relative path.
  void train() {
    auto config = read_file(root_ / "tiny.yaml");
    const std::string data = "data:\n", tokenizer = "  tokenizer: {name: " + GetParam().kind;
    config.insert(config.find(data) + data.size(), tokenizer + (file_.empty() ? "" : ", path: " + file_) + "}\n");
    std::ofstream(root_ / "tiny.yaml") << config;
    const auto result = run("train config=tiny.yaml dump_dir=run steps=2");
    ASSERT_EQ(result.status, 0) << result.err;
  }
  // What a folder says about its texts, and how a generation uses it.
  struct Texts {
    std::vector<int32_t> prompt, stops;
    int32_t bos = -1, eos = -1;
    bool operator==(const Texts&) const = default;
  };
  static Texts texts_of(const fs::path& folder) {
    const GenerateConfig config{.ckpt = folder.string(), .dtype = "fp32"};
    const TextSession session(config, {});
    const auto& tokenizer = session.tokenizer();
    return {.prompt = session.tokens_after({}, "The fox, 12 d\xc3\xb6gs\n"),
            .stops = session.stop_tokens(),
            .bos = tokenizer.bos_id(),
            .eos = tokenizer.eos_id()};
  }
  static void convert(const fs::path& from, const fs::path& to, FolderForm form) {
    write_model(open_model(from, {.training_state = true}), to, {.to = form});
  }
  static void quantize(const fs::path& from, const fs::path& to) {
    const auto folder = open_model(from);
    write_packed_folder(to, *load_packed(folder, WeightFormat::kInt8, torch::kFloat32), WeightFormat::kInt8, folder);
  }

  fs::path before_;
  std::string file_;
};

TEST_P(Folders, OpenAnywhereAndStopWhereTheRunStopped) {
  ASSERT_NO_FATAL_FAILURE(train());
  const auto& c = GetParam();
  const auto original = make_tokenizer(c.kind, file_.empty() ? std::nullopt : std::optional((root_ / file_).string()),
                                       TokenizerConfig().specials);
  const Texts expected{.prompt = original->encode("The fox, 12 d\xc3\xb6gs\n", true, false),
                       .stops = {original->eos_id()},
                       .bos = original->bos_id(),
                       .eos = original->eos_id()};
  ASSERT_GE(expected.bos, 0);
  ASSERT_GE(expected.eos, 0);
  if (c.kind == "hf") {
    EXPECT_EQ(std::pair(expected.bos, expected.eos), std::pair(1, 2));
  }

  // The files that the run was made from are removed, the run has moved, and the program opens it from another folder.
  fs::rename(root_ / "vocabulary", root_ / "gone");
  fs::rename(root_ / "run", root_ / "moved");
  fs::current_path(root_ / "elsewhere");
  const fs::path run = "../moved", forms = "../forms";
  EXPECT_EQ(texts_of(run), expected);
  convert(run, forms / "official", FolderForm::kOfficial);
  convert(run, forms / "hf", FolderForm::kHf);
  quantize(run, forms / "run_int8");
  quantize(forms / "hf", forms / "hf_int8");
  fs::rename(root_ / "moved", root_ / "gone_too");
  fs::rename(root_ / "forms", root_ / "elsewhere/forms");
  fs::current_path(root_);
  const fs::path there = "elsewhere/forms";
  convert(there / "official", there / "lt2", FolderForm::kLt2);
  convert(there / "hf", there / "official_of_hf", FolderForm::kOfficial);
  convert(there / "official_of_hf", there / "lt2_of_hf", FolderForm::kLt2);
  quantize(there / "lt2", there / "official_int8");
  fs::rename(there / "official", there / "official_gone");
  for (const char* form : {"lt2", "hf", "lt2_of_hf", "run_int8", "hf_int8", "official_int8"}) {
    SCOPED_TRACE(form);
    EXPECT_EQ(texts_of(there / form), expected);
    if (c.kind != "hf") continue;
    for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt", "chat_template.jinja", "added_tokens.json"})
      EXPECT_EQ(read_file(there / form / name), read_file(root_ / "gone" / name)) << name;
  }
  // Other programs find the marks where they look for them.
  for (const char* form : {"hf", "hf_int8"}) {
    for (const char* file : {"config.json", "generation_config.json"}) {
      const auto settings = json::parse(read_file(there / form / file));
      EXPECT_EQ(settings.value("bos_token_id", -1), expected.bos) << form << "/" << file;
      EXPECT_EQ(settings.value("eos_token_id", -1), expected.eos) << form << "/" << file;
    }
  }
  // Through the program: a model that always says its end mark stops at once.
  for (const char* form : {"hf", "hf_int8"}) {
    const auto said =
        Program::run(fmt::format("generate ckpt={} prompt=fox max_gen_len=30 logprobs=0 logit_bias='{{{}: 1000}}'",
                                 (there / form).string(), expected.eos));
    ASSERT_EQ(said.status, 0) << said.err;
    const auto line = json::parse(said.out);
    EXPECT_EQ(line["finish"], "stop");
    EXPECT_EQ(line["tokens"].size(), 1u);
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Folders,
                         ::testing::Values(VocabularyCase{"bytes", "bytes"}, VocabularyCase{"tiktoken", "tiktoken"},
                                           VocabularyCase{"sentencepiece", "sp"},
                                           VocabularyCase{"marks_in_tokenizer_json", "hf", "tokenizer.json"},
                                           VocabularyCase{"marks_in_tokenizer_config", "hf", "tokenizer_config.json"},
                                           VocabularyCase{"marks_in_special_tokens_map", "hf",
                                                          "special_tokens_map.json"}),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace lt2::test
