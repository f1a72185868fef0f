#pragma once
// Splitting text into words before merging: the two published patterns as scanners, one pass, no regular expressions.
#include <cstddef>
#include <string_view>

namespace lt2 {

/// The pattern of GPT-2 and byte-level tokenizer.json files.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
/// The pattern of cl100k, Llama-3 and Lingua.
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// End of the word that begins at `at` < text.size(); `text` is well-formed UTF-8. Words leave no gaps.
using WordEnd = size_t (*)(std::string_view text, size_t at);
size_t gpt2_word_end(std::string_view text, size_t at);
size_t llama3_word_end(std::string_view text, size_t at);

/// The scanner of a pattern, if it is one of the above; null for others.
WordEnd word_end_of(std::string_view pattern);

}  // namespace lt2
