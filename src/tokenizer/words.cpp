#include "tokenizer/words.h"

#include "tokenizer/unicode.h"

namespace lt2 {
namespace {

struct Seen {
  uint8_t bits;
  uint32_t bytes;
};

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  Seen at(size_t place) const {
    const Character c = character_at(text_, place);
    return {classes_[c.code], c.bytes};
  }
  bool is(size_t place, int bits) const { return place < text_.size() && (at(place).bits & bits); }
  bool is_symbol(size_t place) const { return place < text_.size() && !(at(place).bits & kNoSymbol); }

  size_t skip(size_t place, int bits) const {
    while (place < text_.size()) {
      const Seen c = at(place);
      if (!(c.bits & bits)) break;
      place += c.bytes;
    }
    return place;
  }
  size_t skip_symbols(size_t place) const {
    while (place < text_.size()) {
      const Seen c = at(place);
      if (c.bits & kNoSymbol) break;
      place += c.bytes;
    }
    return place;
  }

  // 's 't 're 've 'm 'll 'd; `place` is after the apostrophe. Returns `place` if there is none. U+017F folds to s.
  size_t contraction(size_t place, bool fold) const {
    const auto letter = [&](size_t i) {
      const char c = i < text_.size() ? text_[i] : '\0';
      return fold && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 'a' - 'A') : c;
    };
    const char first = letter(place), second = letter(place + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return place + 1;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
      return place + 2;
    if (fold && first == '\xc5' && second == '\xbf') return place + 2;
    return place;
  }

  // A run of white space: up to its last line end if those bind, without its last character if text follows.
  size_t spaces(size_t begin, bool line_ends_bind) const {
    size_t end = begin, last = begin, after_line = begin;
    while (end < text_.size()) {
      const Seen c = at(end);
      if (!(c.bits & kSpace)) break;
      last = end;
      end += c.bytes;
      if (c.bits & kLineEnd) after_line = end;
    }
    if (line_ends_bind && after_line > begin) return after_line;
    return end == text_.size() || last == begin ? end : last;
  }

 private:
  static constexpr int kNoSymbol = kSpace | kLetter | kNumber;
  std::string_view text_;
  const uint8_t* classes_ = char_classes();
};

}  // namespace

size_t gpt2_word_end(std::string_view text, size_t at) {
  const Scanner scan(text);
  if (text[at] == '\'') {
    if (const size_t end = scan.contraction(at + 1, false); end > at + 1) return end;
  }
  const size_t body = text[at] == ' ' ? at + 1 : at;
  if (scan.is(body, kLetter)) return scan.skip(body, kLetter);
  if (scan.is(body, kNumber)) return scan.skip(body, kNumber);
  if (scan.is_symbol(body)) return scan.skip_symbols(body);
  return scan.spaces(at, false);
}

size_t llama3_word_end(std::string_view text, size_t at) {
  const Scanner scan(text);
  if (text[at] == '\'') {
    if (const size_t end = scan.contraction(at + 1, true); end > at + 1) return end;
  }
  const Seen first = scan.at(at);
  size_t next = at + first.bytes;
  if ((first.bits & kLetter) || (!(first.bits & (kNumber | kLineEnd)) && scan.is(next, kLetter)))
    return scan.skip(next, kLetter);
  if (first.bits & kNumber) {
    for (int i = 1; i < 3 && scan.is(next, kNumber); ++i) next += scan.at(next).bytes;
    return next;
  }
  if (const size_t body = text[at] == ' ' ? at + 1 : at; scan.is_symbol(body))
    return scan.skip(scan.skip_symbols(body), kLineEnd);
  return scan.spaces(at, true);
}

WordEnd word_end_of(std::string_view pattern) {
  if (pattern == kGpt2Pattern) return gpt2_word_end;
  if (pattern == kLlama3Pattern) return llama3_word_end;
  return nullptr;
}

}  // namespace lt2
