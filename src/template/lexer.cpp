#include "template/lexer.h"

#include <utf8proc.h>

#include <charconv>
#include <cstdlib>
#include <optional>

#include "base/characters.h"
#include "base/error.h"
#include "base/utf8.h"
#include "template/literal.h"
#include "template/text.h"

namespace lt2::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Every kind of line end as one newline, the last one dropped unless it is to stay.
std::string with_newlines(std::string_view source, bool keep_last) {
  std::string out;
  out.reserve(source.size());
  for (size_t at = 0; at < source.size(); ++at) {
    if (source[at] != '\r') {
      out += source[at];
      continue;
    }
    out += '\n';
    if (at + 1 < source.size() && source[at + 1] == '\n') ++at;
  }
  if (!keep_last && out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name, const TemplateOptions& options)
      : name_(name), options_(options), source_(with_newlines(source, options.keep_trailing_newline)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t open = next_tag();
      if (open == std::string::npos) {
        data(source_.substr(at_));
        at_ = source_.size();
        break;
      }
      tag(open);
    }
    push(TokenKind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void refuse(const std::string& message) { fail("{}:{}: {}", name_, line_, message); }

  void push(TokenKind kind, std::string text) {
    Token token;
    token.kind = kind;
    token.text = std::move(text);
    token.line = line_;
    tokens_.push_back(std::move(token));
  }
  void data(std::string text) {
    if (!text.empty()) push(TokenKind::kData, std::move(text));
  }
  // Advances to `to`, counting lines.
  void move_to(size_t to) {
    for (; at_ < to; ++at_) line_ += source_[at_] == '\n';
  }
  bool starts_with(std::string_view what, size_t at) const {
    return std::string_view(source_).substr(std::min(at, source_.size())).starts_with(what);
  }
  size_t behind_spaces(size_t at) const {
    while (at < source_.size()) {
      const Character c = character_at(source_, at);
      if (!is_space(c.code)) break;
      at += c.bytes;
    }
    return at;
  }

  size_t next_tag() const {
    for (size_t at = source_.find('{', at_); at != std::string::npos; at = source_.find('{', at + 1))
      if (at + 1 < source_.size() && (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#'))
        return at;
    return std::string::npos;
  }

  // The text from here to a tag, cut as the tag's sign and the options ask for.
  void data_before(size_t open, char sign, bool prints) {
    std::string_view text(source_);
    text = text.substr(at_, open - at_);
    if (sign == '-') {
      text = strip(text, Side::kRight);
    } else if (sign != '+' && options_.lstrip_blocks && !prints) {
      const size_t newline = text.rfind('\n');
      const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line > 0 || line_starts_) && strip(text.substr(line), Side::kLeft).empty()) text = text.substr(0, line);
    }
    data(std::string(text));
    move_to(open);
  }

  char sign_at(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  void ends_tag(size_t end) {
    move_to(end);
    line_starts_ = end > 0 && source_[end - 1] == '\n';
  }

  // The place after "%}" (or "#}"; with its sign in front) at `at`, or nothing if `at` holds no such mark.
  std::optional<size_t> behind_close(size_t at, std::string_view close, bool trims) const {
    const char sign = sign_at(at);
    if (sign && starts_with(close, at + 1))
      return sign == '-' ? behind_spaces(at + 1 + close.size()) : at + 1 + close.size();
    if (!starts_with(close, at)) return {};
    const size_t end = at + close.size();
    return trims && options_.trim_blocks && starts_with("\n", end) ? end + 1 : end;
  }

  void tag(size_t open) {
    const char kind = source_[open + 1], sign = sign_at(open + 2);
    const size_t inside = open + 2 + (sign ? 1 : 0);
    data_before(open, sign, kind == '{');
    if (kind == '#') return comment(inside);
    if (kind == '%') {
      size_t at = behind_spaces(inside);
      if (starts_with("raw", at)) {
        at = behind_spaces(at + 3);
        if (starts_with("-%}", at)) return raw(behind_spaces(at + 3));
        if (starts_with("%}", at)) return raw(at + 2);
      }
    }
    push(kind == '{' ? TokenKind::kPrintBegin : TokenKind::kBlockBegin, {});
    move_to(inside);
    while (at_ < source_.size())
      if (inner(kind == '{')) return;
  }

  void comment(size_t inside) {
    const size_t close = source_.find("#}", inside);
    if (close == std::string::npos) refuse("expected the end of a comment, #}, found the end of the template");
    const bool signed_end = close > inside && sign_at(close - 1);
    ends_tag(*behind_close(signed_end ? close - 1 : close, "#}", true));
  }

  void raw(size_t inside) {
    ends_tag(inside);
    for (size_t open = source_.find("{%", at_); open != std::string::npos; open = source_.find("{%", open + 1)) {
      const char sign = sign_at(open + 2);
      const size_t word = behind_spaces(open + 2 + (sign ? 1 : 0));
      if (!starts_with("endraw", word)) continue;
      const auto end = behind_close(behind_spaces(word + 6), "%}", true);
      if (!end) continue;
      data_before(open, sign, false);
      return ends_tag(*end);
    }
    refuse("expected the end of a raw block, {% endraw %}, found the end of the template");
  }

  // One token inside a tag; true at its end.
  bool inner(bool prints) {
    if (open_.empty()) {
      // "+}}" does not end a print: the plus is an operator there.
      const bool plus = prints && sign_at(at_) == '+';
      if (const auto end = plus ? std::nullopt : behind_close(at_, prints ? "}}" : "%}", !prints)) {
        push(prints ? TokenKind::kPrintEnd : TokenKind::kBlockEnd, {});
        ends_tag(*end);
        return true;
      }
    }
    const Character c = character_at(source_, at_);
    if (is_space(c.code)) {
      move_to(at_ + c.bytes);
    } else if (is_digit(source_[at_])) {
      number();
    } else if (c.code == '\'' || c.code == '"') {
      text();
    } else if (const size_t end = end_of_name(at_); end > at_) {
      push(TokenKind::kName, source_.substr(at_, end - at_));
      at_ = end;
    } else {
      sign();
    }
    return false;
  }

  size_t end_of_name(size_t at) const {
    while (at < source_.size()) {
      const Character c = character_at(source_, at);
      const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c.code));
      const bool word =
          (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC;
      if (!word) break;
      at += c.bytes;
    }
    return at;
  }

  // Digits with single underscores between them.
  size_t end_of_digits(size_t at) const {
    while (at < source_.size() &&
           (is_digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() && is_digit(source_[at + 1]))))
      ++at;
    return at;
  }
  bool digit_at(size_t at) const { return at < source_.size() && is_digit(source_[at]); }

  void number() {
    const size_t whole = end_of_digits(at_);
    size_t end = whole;
    if (at_ == 0 || source_[at_ - 1] != '.') {  // a.0.1 are two indices
      if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) end = end_of_digits(end + 1);
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        const size_t exponent = end + 1 + (sign_at(end + 1) ? 1 : 0);
        if (digit_at(exponent)) end = end_of_digits(exponent);
      }
    }
    if (end == whole) return integer();
    push(TokenKind::kReal, source_.substr(at_, end - at_));
    std::string digits;
    for (const char c : tokens_.back().text)
      if (c != '_') digits += c;
    tokens_.back().real = std::strtod(digits.c_str(), nullptr);
    at_ = end;
  }

  void integer() {
    size_t end = end_of_digits(at_);
    const char kind = end == at_ + 1 && source_[at_] == '0' && end < source_.size() ? source_[end] : '\0';
    if (kind && std::string_view("xXoObB").find(kind) != std::string_view::npos) {
      const int base = kind == 'x' || kind == 'X' ? 16 : kind == 'o' || kind == 'O' ? 8 : 2;
      const auto digit = [&](size_t at) { return at < source_.size() && digit_value(source_[at]) < base; };
      size_t at = end + 1;
      while (digit(at) || (at < source_.size() && source_[at] == '_' && digit(at + 1))) ++at;
      if (at > end + 1) end = at;
    } else if (source_[at_] == '0') {  // 007 is no number: a zero and a seven side by side
      end = at_ + 1;
      while (end < source_.size() && (source_[end] == '0' || (source_[end] == '_' && starts_with("0", end + 1)))) ++end;
    }
    push(TokenKind::kInteger, source_.substr(at_, end - at_));
    const auto value = integer_of(tokens_.back().text, 0);
    if (!value) refuse("integers must fit 64 bits with their sign, found " + tokens_.back().text);
    tokens_.back().integer = *value;
    at_ = end;
  }

  void text() {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != source_[at_]) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size())
      refuse(fmt::format("expected the end of a text, {}, found the end of the template", source_[at_]));
    std::string error;
    const std::string meaning = unescaped(std::string_view(source_).substr(at_ + 1, end - at_ - 1), error);
    if (!error.empty()) refuse(error);
    push(TokenKind::kText, meaning);
    move_to(end + 1);
  }

  void sign() {
    constexpr std::string_view kSigns[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                           "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const auto sign : kSigns) {
      if (!starts_with(sign, at_)) continue;
      balance(sign);
      push(TokenKind::kSign, std::string(sign));
      at_ += sign.size();
      return;
    }
    const Character c = character_at(source_, at_);
    refuse("unexpected character " + repr_of(std::string_view(source_).substr(at_, c.bytes)));
  }

  void balance(std::string_view sign) {
    if (sign == "(" || sign == "[" || sign == "{") open_ += sign == "(" ? ')' : sign == "[" ? ']' : '}';
    if (sign != ")" && sign != "]" && sign != "}") return;
    if (open_.empty()) refuse(fmt::format("unexpected '{}'", sign));
    if (open_.back() != sign[0]) refuse(fmt::format("expected '{}', found '{}'", open_.back(), sign));
    open_.pop_back();
  }

  const std::string& name_;
  const TemplateOptions& options_;
  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // what was read last ended a line
  std::string open_;         // brackets that wait for these
  std::vector<Token> tokens_;
};

}  // namespace

std::string Token::description() const {
  switch (kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kPrintBegin:
      return "{{";
    case TokenKind::kPrintEnd:
      return "}}";
    case TokenKind::kBlockBegin:
      return "{%";
    case TokenKind::kBlockEnd:
      return "%}";
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kText:
      return repr_of(text.size() > 40
                         ? text.substr(0, byte_of(Text(text), std::min<int64_t>(20, Text(text).length))) + "..."
                         : text);
    default:
      return "'" + text + "'";
  }
}

std::vector<Token> tokens_of(std::string_view source, const std::string& name, const TemplateOptions& options) {
  LT2_CHECK(count_invalid_utf8(source) == 0, "{}: expected a template in UTF-8, found other bytes", name);
  return Lexer(source, name, options).run();
}

}  // namespace lt2::jinja
