#pragma once
// Properties of characters and normal forms, from libutf8proc. Texts given here are well-formed UTF-8.
#include <cstdint>
#include <string>
#include <string_view>

namespace lt2 {

/// Bits of char_class().
enum CharClass : uint8_t {
  kLetter = 1,        // general category L*
  kNumber = 2,        // N*: Roman numerals, fractions and circled digits too
  kSpace = 4,         // White_Space
  kLineEnd = 8,       // CR and LF
  kWord = 16,         // \w: letters, marks, decimal digits, connector punctuation
  kPunctuation = 32,  // P*, and ASCII's symbols
  kNonspacing = 64,   // Mn
};

/// One byte for each code point below 0x110000.
const uint8_t* char_classes();

struct Character {
  uint32_t code = 0;
  uint32_t bytes = 0;
};

/// The character at `at`, which must be the start of one.
inline Character character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[at + i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xe0) return {(lead & 0x1f) << 6 | (byte(1) & 0x3f), 2};
  if (lead < 0xf0) return {(lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f), 4};
}

/// Start of the character that ends before `at`, at > 0.
inline size_t character_before(std::string_view text, size_t at) {
  do --at;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80);
  return at;
}

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// Time n log n even if every character is a combining mark.
std::string normalize(std::string_view text, NormalForm form);

/// Each character by itself, as far as one or two characters can say it: no final sigma.
std::string lowercase(std::string_view text);

/// Without characters of category Mn.
std::string strip_accents(std::string_view text);

}  // namespace lt2
