#pragma once
// A vocabulary of every kind, and of every way to put a space in front of a text: the small ones are written here.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tokenizer/tokenizer.h"

namespace lt2::test {

struct VocabularyCase {
  std::string name;          // of the case
  std::string kind, file;    // as in data.tokenizer; `file` of tests/data, or empty: `json` is the file
  nlohmann::json json = {};  // of a tokenizer.json
  bool any_byte = true;      // every byte is a token of its own
};
inline std::ostream& operator<<(std::ostream& out, const VocabularyCase& c) { return out << c.name; }

/// A tokenizer.json of letters, bytes and a few merges, with Llama's marks and ChatML's.
inline nlohmann::json small_tokenizer_json(const nlohmann::json& parts) {
  auto vocab = nlohmann::json::object();
  auto merges = nlohmann::json::array(), marks = nlohmann::json::array();
  const auto add = [&](const std::string& token) { vocab.emplace(token, vocab.size()); };
  for (const char* token : {"<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"}) {
    marks.push_back({{"id", vocab.size()}, {"content", token}, {"special", true}});
    add(token);
  }
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte));
  add("▁");
  for (char letter = 'a'; letter <= 'z'; ++letter) add(std::string(1, letter));
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{
           {"▁", "t"}, {"h", "e"}, {"▁t", "he"}, {"i", "s"}, {"▁", "is"}, {"▁", "k"}, {"n", "g"}, {"x", "y"}}) {
    add(left + right);
    merges.push_back(left + " " + right);
  }
  nlohmann::json file = {
      {"model",
       {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}, {"byte_fallback", true}, {"unk_token", "<unk>"}}},
      {"added_tokens", marks},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}, {{"SpecialToken", {{"id", "</s>"}}}}}},
        {"special_tokens", {{"<s>", {{"ids", {1}}}}, {"</s>", {{"ids", {2}}}}}}}}};
  file.update(parts);
  return file;
}

inline std::vector<VocabularyCase> vocabulary_cases() {
  const auto json = [](const char* text) { return nlohmann::json::parse(text); };
  const char* kLlamaDecoder = R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},
      "content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";
  const auto metaspace = [&](const char* scheme, const char* split) {
    const auto stage =
        json(fmt::format(R"({{"type":"Metaspace","replacement":"▁","prepend_scheme":"{}","split":{}}})", scheme, split)
                 .c_str());
    return small_tokenizer_json(
        {{"pre_tokenizer", stage},
         {"decoder", {{"type", "Sequence"}, {"decoders", {json(R"({"type":"ByteFallback"})"), stage}}}}});
  };
  return {
      {.name = "bytes", .kind = "bytes", .file = ""},
      {.name = "tiktoken", .kind = "tiktoken", .file = "gpt2/gpt2.tiktoken"},
      {.name = "sp_bpe", .kind = "sp", .file = "sp_bpe/tokenizer.model"},
      {.name = "sp_unigram", .kind = "sp", .file = "sp_unigram/tokenizer.model", .json = {}, .any_byte = false},
      {.name = "byte_level", .kind = "hf", .file = "smollm2_style/tokenizer.json"},
      {.name = "llama2",
       .kind = "hf",
       .file = "",
       .json = small_tokenizer_json(
           {{"normalizer", json(R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
               {"type":"Replace","pattern":{"String":" "},"content":"▁"}]})")},
            {"decoder", json(kLlamaDecoder)}})},
      {.name = "metaspace_always", .kind = "hf", .file = "", .json = metaspace("always", "true")},
      {.name = "metaspace_first", .kind = "hf", .file = "", .json = metaspace("first", "false")},
      {.name = "metaspace_never", .kind = "hf", .file = "", .json = metaspace("never", "false")},
  };
}

/// Where its file is; written into `folder` if it is one of the small ones. Empty: it needs none.
inline std::string vocabulary_file(const VocabularyCase& c, const std::filesystem::path& folder) {
  if (!c.file.empty()) return std::string(LT2_TEST_DATA) + "/tokenizer/" + c.file;
  if (c.json.is_null()) return "";
  const auto path = folder / (c.name + ".json");
  std::ofstream(path) << c.json.dump();
  return path.string();
}

inline std::unique_ptr<Tokenizer> make_vocabulary(const VocabularyCase& c) {
  const TempFolder folder;
  const auto file = vocabulary_file(c, folder.path());
  return make_tokenizer(c.kind, file.empty() ? std::nullopt : std::optional(file),
                        c.kind == "tiktoken" ? "gpt2" : "lingua");
}

}  // namespace lt2::test
