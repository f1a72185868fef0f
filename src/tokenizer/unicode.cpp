#include "tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {
namespace {

bool is_white_space(uint32_t code) {
  return (code >= 0x9 && code <= 0xd) || code == 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
         code == 0x3000;
}

uint8_t class_of(uint32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO,
             mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME,
             number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO,
             ascii_symbol = code < 0x80 && category >= UTF8PROC_CATEGORY_SM && category <= UTF8PROC_CATEGORY_SO;
  int bits = 0;
  if (letter) bits |= kLetter;
  if (number) bits |= kNumber;
  if (is_white_space(code)) bits |= kSpace;
  if (code == '\r' || code == '\n') bits |= kLineEnd;
  if (letter || mark || category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_PC) bits |= kWord;
  if ((category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO) || ascii_symbol) bits |= kPunctuation;
  if (mark) bits |= kMark;
  return static_cast<uint8_t>(bits);
}

bool all_below(std::string_view text, uint8_t lead) {
  return std::all_of(text.begin(), text.end(), [&](char byte) { return static_cast<uint8_t>(byte) < lead; });
}

// Canonical order. utf8proc's own sorts by neighbours, which a megabyte of marks makes quadratic.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  const auto combining = [](utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; };
  for (size_t begin = 0; begin < codes.size();) {
    if (combining(codes[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < codes.size() && combining(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + static_cast<ptrdiff_t>(begin), codes.begin() + static_cast<ptrdiff_t>(end),
                     [&](auto a, auto b) { return combining(a) < combining(b); });
    begin = end;
  }
}

}  // namespace

const uint8_t* char_classes() {
  static const std::vector<uint8_t> classes = [] {
    std::vector<uint8_t> all(0x110000);
    for (uint32_t code = 0; code < all.size(); ++code) all[code] = class_of(code);
    return all;
  }();
  return classes.data();
}

std::string normalize(std::string_view text, NormalForm form) {
  // Nothing below U+0300 changes under NFC (lead bytes up to CB), nothing below U+0080 under the others.
  if (all_below(text, form == NormalForm::kNfc ? 0xcc : 0x80)) return std::string(text);
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd,
             compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    at += c.bytes;
    utf8proc_int32_t parts[32];  // the longest decomposition has 18
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts, 32, options, nullptr);
    if (count < 0 || count > 32) fail("normal form of U+{:04X}: {}", c.code, utf8proc_errmsg(count));
    codes.insert(codes.end(), parts, parts + count);
  }
  order_marks(codes);
  if (compose) {
    const auto count = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                                static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (count < 0) fail("normal form: {}", utf8proc_errmsg(count));
    codes.resize(static_cast<size_t>(count));
  }
  std::string out;
  out.reserve(text.size());
  for (const auto code : codes) append_utf8(out, static_cast<uint32_t>(code));
  return out;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    at += c.bytes;
    if (c.code == 0x130) {  // the one character whose lower case is two
      out += "i\xcc\x87";
    } else {
      append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.code))));
    }
  }
  return out;
}

std::string strip_accents(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (!(char_classes()[c.code] & kMark)) out.append(text, at, c.bytes);
    at += c.bytes;
  }
  return out;
}

}  // namespace lt2
