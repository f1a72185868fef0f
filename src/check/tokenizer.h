#pragma once
// Reference vectors of tokenizers: vocabularies with texts, ids and decodings that other implementations computed.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lt2 {

/// One kind of comparison over one vocabulary.
struct TokenizerCheck {
  std::string vocabulary;  // name of its folder
  std::string what;        // "encode", "decode", ...
  int64_t compared = 0, wrong = 0;
  std::string first;  // the first thing that was wrong: case, expected, found
};

/// Whether `folder` holds such vectors: one vocabulary (meta.json, cases.jsonl), or folders of them.
bool has_tokenizer_vectors(const std::filesystem::path& folder);

/// Runs them all through the real code: vocabulary size and marks, encoding (plain, with specials, with a template),
/// decoding at once and as a stream, and, next to the folders, invalid_utf8.jsonl and chunking.json if they exist.
/// Throws lt2::Error if a file is missing or malformed.
std::vector<TokenizerCheck> check_tokenizer_vectors(const std::filesystem::path& folder);

}  // namespace lt2
