#include "data/json_line.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {
namespace {

// Why not a JSON library: those at hand refuse broken UTF-8 and lone surrogates, which crawled text has, and build a
// tree that no caller needs.
class Parser {
 public:
  explicit Parser(std::string_view line) : line_(line) {}

  LineText parse() {
    skip_space();
    if (peek() != '{') error("expected an object {...}");
    std::optional<LineText> text, content;
    std::vector<std::string> others;
    for_each_member([&](const std::string& key) {
      if (key == "text" || key == "content") {
        if (peek() != '"') fail("\"{}\" is {}; expected a string", key, kind());
        (key == "text" ? text : content) = string();
      } else {
        others.push_back(key);
        skip_value(1);
      }
    });
    skip_space();
    if (at_ != line_.size()) error("expected the end of the line");
    if (text) return *std::move(text);
    if (content) return *std::move(content);
    no_text(others);
  }

 private:
  static constexpr int kMaxDepth = 512;

  [[noreturn]] void error(const char* what) const {
    if (at_ >= line_.size()) fail("not valid JSON: {} at column {}, found the end of the line", what, at_ + 1);
    const auto byte = static_cast<uint8_t>(line_[at_]);
    if (byte < 0x20 || byte >= 0x7f) fail("not valid JSON: {} at column {}, found byte 0x{:02x}", what, at_ + 1, byte);
    fail("not valid JSON: {} at column {}, found '{}'", what, at_ + 1, line_[at_]);
  }

  [[noreturn]] static void no_text(std::vector<std::string> keys) {
    if (keys.empty()) fail("no \"text\" or \"content\" field, found an empty object");
    const bool many = keys.size() > 8;
    if (many) keys.resize(8);
    for (std::string& key : keys) key = '"' + replace_invalid_utf8(key) + '"';
    fail("no \"text\" or \"content\" field, found {}{}. Rename {}.", fmt::join(keys, ", "), many ? ", ..." : "",
         keys.size() == 1 ? "it" : "one");
  }

  char peek() const { return at_ < line_.size() ? line_[at_] : '\0'; }
  void skip_space() {
    while (at_ < line_.size() && (line_[at_] == ' ' || line_[at_] == '\t' || line_[at_] == '\n' || line_[at_] == '\r'))
      ++at_;
  }
  void expect(char c, const char* what) {
    if (peek() != c) error(what);
    ++at_;
  }

  const char* kind() const {
    switch (peek()) {
      case '{':
        return "an object";
      case '[':
        return "a list";
      case 'n':
        return "null";
      case 't':
      case 'f':
        return "a boolean";
      default:
        return "a number";
    }
  }

  // Stands at '{'. Calls value(key) in front of each value, which must read it.
  template <typename Value>
  void for_each_member(Value&& value) {
    ++at_;
    skip_space();
    if (peek() == '}') {
      ++at_;
      return;
    }
    for (;;) {
      skip_space();
      if (peek() != '"') error("expected a key in quotes");
      const std::string key = string().text;
      skip_space();
      expect(':', "expected ':'");
      skip_space();
      value(key);
      skip_space();
      if (peek() == '}') break;
      expect(',', "expected ',' or '}'");
    }
    ++at_;
  }

  void skip_value(int depth) {
    if (depth > kMaxDepth) fail("nested deeper than {} levels", kMaxDepth);
    switch (peek()) {
      case '"':
        string();
        return;
      case '{':
        for_each_member([&](const std::string&) { skip_value(depth + 1); });
        return;
      case '[':
        skip_list(depth);
        return;
      default:
        skip_scalar();
    }
  }

  void skip_list(int depth) {
    ++at_;
    skip_space();
    if (peek() == ']') {
      ++at_;
      return;
    }
    for (;;) {
      skip_space();
      skip_value(depth + 1);
      skip_space();
      if (peek() == ']') break;
      expect(',', "expected ',' or ']'");
    }
    ++at_;
  }

  void skip_scalar() {
    for (const std::string_view word : {"true", "false", "null", "NaN", "Infinity", "-Infinity"}) {
      if (line_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return;
    }
    skip_number();
  }

  void skip_digits() {
    if (peek() < '0' || peek() > '9') error("expected a value");
    while (peek() >= '0' && peek() <= '9') ++at_;
  }

  void skip_number() {
    if (peek() == '-') ++at_;
    if (peek() == '0')
      ++at_;  // no further digits may follow: the next character is then no ',' and an error
    else
      skip_digits();
    if (peek() == '.') {
      ++at_;
      skip_digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      skip_digits();
    }
  }

  // Stands at the opening quote.
  LineText string() {
    ++at_;
    LineText out;
    for (;;) {
      const size_t begin = at_;
      while (at_ < line_.size() && line_[at_] != '"' && line_[at_] != '\\' && static_cast<uint8_t>(line_[at_]) >= 0x20)
        ++at_;
      out.text.append(line_, begin, at_ - begin);
      if (at_ == line_.size()) error("expected the closing quote of a string");
      if (line_[at_] == '"') break;
      if (line_[at_] != '\\') error("expected no raw control character in a string");
      ++at_;
      escape(out);
    }
    ++at_;
    return out;
  }

  // Stands after the backslash.
  void escape(LineText& out) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    if (peek() == 'u') {
      ++at_;
      return unicode_escape(out);
    }
    const size_t index = at_ < line_.size() ? kNames.find(line_[at_]) : std::string_view::npos;
    if (index == std::string_view::npos) error("expected an escape");
    out.text += kValues[index];
    ++at_;
  }

  void unicode_escape(LineText& out) {
    uint32_t code = hex4();
    const bool high = code >= 0xd800 && code < 0xdc00;
    if (high && line_.substr(at_, 2) == "\\u") {
      const size_t back = at_;
      at_ += 2;
      const uint32_t low = hex4();
      if (low >= 0xdc00 && low < 0xe000)
        return append_utf8(out.text, 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
      at_ = back;  // not its partner: stands for itself
    }
    if (code >= 0xd800 && code < 0xe000) {
      code = 0xfffd;
      ++out.lone_surrogates;
    }
    append_utf8(out.text, code);
  }

  uint32_t hex4() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek();
      if (c >= '0' && c <= '9')
        value = value * 16 + static_cast<uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        value = value * 16 + static_cast<uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        value = value * 16 + static_cast<uint32_t>(c - 'A' + 10);
      else
        error("expected four hex digits");
    }
    return value;
  }

  std::string_view line_;
  size_t at_ = 0;
};

}  // namespace

LineText text_of_json_line(std::string_view line) { return Parser(line).parse(); }

}  // namespace lt2
