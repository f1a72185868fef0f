#pragma once
// Properties of characters and normal forms, from libutf8proc. Texts given here are well-formed UTF-8.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/characters.h"

namespace lt2 {

/// Bits of char_class().
enum CharClass : uint8_t {
  kLetter = 1,        // general category L*
  kNumber = 2,        // N*: Roman numerals, fractions and circled digits too
  kSpace = 4,         // White_Space
  kLineEnd = 8,       // CR and LF
  kWord = 16,         // \w: letters, marks, decimal digits, connector punctuation
  kPunctuation = 32,  // P*, and ASCII's symbols
  kMark = 64,         // M*
};

/// One byte for each code point below 0x110000.
const uint8_t* char_classes();

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// Time n log n even if every character is a combining mark.
std::string normalize(std::string_view text, NormalForm form);

/// Each character by itself, as far as one or two characters can say it: no final sigma.
std::string lowercase(std::string_view text);

/// Without marks (category M*), as Hugging Face's StripAccents: to get e from é, decompose it first.
std::string strip_accents(std::string_view text);

}  // namespace lt2
