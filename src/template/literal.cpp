#include "template/literal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "template/text.h"

namespace lt2::jinja {
namespace {

// Without underscores, each of which must stand between two digits (or after 0x).
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto alphanumeric = [](char c) { return digit_value(c) < 36; };
    if (i == 0 || i + 1 == text.size() || !alphanumeric(text[i - 1]) || !alphanumeric(text[i + 1])) return {};
  }
  return out;
}

int base_of_prefix(std::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 0;
  switch (text[1]) {
    case 'x':
    case 'X':
      return 16;
    case 'o':
    case 'O':
      return 8;
    case 'b':
    case 'B':
      return 2;
    default:
      return 0;
  }
}

}  // namespace

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

std::optional<int64_t> integer_of(std::string_view text, int base, bool* too_large) {
  text = strip(text, Side::kBoth);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const int prefix = base_of_prefix(text);
  if (prefix && (base == 0 || base == prefix)) {
    base = prefix;
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
  } else if (base == 0) {
    base = 10;
    const bool zeros = text.find_first_not_of("0_") == std::string_view::npos;
    if (text.starts_with('0') && !zeros) return {};
  }
  const auto digits = without_underscores(text);
  if (!digits || digits->empty()) return {};
  for (const char c : *digits)
    if (digit_value(c) >= base) return {};
  int64_t value = 0;
  for (const char c : *digits) {
    const int digit = negative ? -digit_value(c) : digit_value(c);
    if (__builtin_mul_overflow(value, int64_t{base}, &value) || __builtin_add_overflow(value, int64_t{digit}, &value)) {
      if (too_large) *too_large = true;
      return {};
    }
  }
  return value;
}

std::optional<double> real_of(std::string_view text) {
  text = strip(text, Side::kBoth);
  auto plain = without_underscores(text);
  if (!plain || plain->empty()) return {};
  std::string_view word = *plain;
  if (word[0] == '-' || word[0] == '+') word.remove_prefix(1);
  std::string low(word);
  std::transform(low.begin(), low.end(), low.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  const bool named = low == "inf" || low == "infinity" || low == "nan";
  // strtod also reads hexadecimal numbers and nan(...), which Python does not.
  if (!named && (low.empty() || low.find_first_not_of("0123456789.e+-") != std::string::npos)) return {};
  char* end = nullptr;
  const double value = std::strtod(plain->c_str(), &end);
  if (end != plain->c_str() + plain->size()) return {};
  return value;
}

std::string unescaped(std::string_view text, std::string& error) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '\\' || at + 1 == text.size()) {
      out += text[at++];
      continue;
    }
    const char kind = text[at + 1];
    at += 2;
    constexpr std::string_view kShort = "\\'\"abfnrtv", kMeaning = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t i = kShort.find(kind); i != std::string_view::npos) {
      out += kMeaning[i];
    } else if (kind == '\n') {
      continue;  // a continued line
    } else if (kind >= '0' && kind <= '7') {
      uint32_t code = 0;
      --at;
      for (int n = 0; n < 3 && at < text.size() && text[at] >= '0' && text[at] <= '7'; ++n)
        code = code * 8 + static_cast<uint32_t>(text[at++] - '0');
      append_character(out, code);
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
      uint32_t code = 0;
      size_t read = 0;
      for (; read < digits && at < text.size() && digit_value(text[at]) < 16; ++read)
        code = code * 16 + static_cast<uint32_t>(digit_value(text[at++]));
      if (read < digits || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        error = fmt::format("expected {} hex digits of a character after \\{}", digits, kind);
        return {};
      }
      append_character(out, code);
    } else if (kind == 'N') {
      error = "characters by name, \\N{...}, are not in the subset: write \\u and its code";
      return {};
    } else {
      out += '\\';
      out += kind;
    }
  }
  return out;
}

}  // namespace lt2::jinja
