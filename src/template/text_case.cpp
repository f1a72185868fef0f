// Upper and lower case, classes of characters, and how Python writes texts and numbers.
#include <fmt/format.h>
#include <utf8proc.h>

#include <charconv>
#include <cmath>

#include "base/characters.h"
#include "template/text.h"

namespace lt2::jinja {
namespace {

utf8proc_category_t category(uint32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }
bool is_letter(uint32_t code) {
  const auto c = category(code);
  return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(uint32_t code) { return category(code) == UTF8PROC_CATEGORY_ND; }
// Superscripts and circled digits: digits, but no decimals.
bool is_digit(uint32_t code) {
  return is_decimal(code) || code == 0xb2 || code == 0xb3 || code == 0xb9 || code == 0x2070 ||
         (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089) ||
         (code >= 0x2460 && code <= 0x2468) || (code >= 0x2474 && code <= 0x247c) || (code >= 0x2488 && code <= 0x2490);
}
bool is_numeric(uint32_t code) {
  const auto c = category(code);
  return is_digit(code) || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}
bool is_title(uint32_t code) { return category(code) == UTF8PROC_CATEGORY_LT; }
bool is_upper(uint32_t code) { return category(code) == UTF8PROC_CATEGORY_LU; }
bool is_lower(uint32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LL || code == 0xaa || code == 0xba || (code >= 0x2b0 && code <= 0x2b8);
}
bool is_cased(uint32_t code) { return is_upper(code) || is_lower(code) || is_title(code); }
bool prints(uint32_t code) {
  const auto c = category(code);
  return code == ' ' || (c != UTF8PROC_CATEGORY_CN && !(c >= UTF8PROC_CATEGORY_ZS && c <= UTF8PROC_CATEGORY_CO));
}

// Characters whose upper case is several.
const char* long_upper(uint32_t code) {
  switch (code) {
    case 0xdf:
      return "SS";
    case 0x149:
      return "\xca\xbcN";
    case 0x1f0:
      return "J\xcc\x8c";
    case 0xfb00:
      return "FF";
    case 0xfb01:
      return "FI";
    case 0xfb02:
      return "FL";
    case 0xfb03:
      return "FFI";
    case 0xfb04:
      return "FFL";
    case 0xfb05:
    case 0xfb06:
      return "ST";
    default:
      return nullptr;
  }
}

void append_upper(std::string& out, uint32_t code) {
  if (const char* many = long_upper(code)) {
    out += many;
  } else {
    append_character(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
  }
}

void append_title(std::string& out, uint32_t code) {
  if (const char* many = long_upper(code)) {
    std::string title(many);
    // Of several characters only the first is upper; the first of U+0149 has no case.
    if (code != 0x149 && code != 0x1f0)
      for (size_t i = 1; i < title.size(); ++i) title[i] = static_cast<char>(title[i] + ('a' - 'A'));
    out += title;
  } else {
    append_character(out, static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
  }
}

// A sigma that ends a word has a form of its own.
bool final_sigma(std::string_view text, size_t at) {
  bool letter_before = false;
  for (size_t i = at; i > 0 && !letter_before;) {
    i = character_before(text, i);
    const uint32_t code = character_at(text, i).code;
    if (is_cased(code))
      letter_before = true;
    else if (category(code) != UTF8PROC_CATEGORY_MN && code != '\'' && code != '.' && code != ':')
      break;
  }
  if (!letter_before) return false;
  for (size_t i = at + 2; i < text.size();) {
    const Character c = character_at(text, i);
    if (is_cased(c.code)) return false;
    if (category(c.code) != UTF8PROC_CATEGORY_MN && c.code != '\'' && c.code != '.' && c.code != ':') break;
    i += c.bytes;
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, size_t at, uint32_t code) {
  if (code == 0x130) {  // the one character whose lower case is two
    out += "i\xcc\x87";
  } else if (code == 0x3a3) {
    out += final_sigma(text, at) ? "\xcf\x82" : "\xcf\x83";
  } else {
    append_character(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
  }
}

template <typename Append>
std::string each_character(std::string_view text, Append&& append) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    append(out, at, c.code);
    at += c.bytes;
  }
  return out;
}

template <typename Holds>
bool all_characters(std::string_view text, Holds&& holds) {
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (!holds(c.code)) return false;
    at += c.bytes;
  }
  return !text.empty();
}

bool has_case(std::string_view text, bool (*wanted)(uint32_t), bool (*other)(uint32_t)) {
  bool found = false;
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (other(c.code) || is_title(c.code)) return false;
    found = found || wanted(c.code);
    at += c.bytes;
  }
  return found;
}

bool is_titled(std::string_view text) {
  bool found = false, inside = false;
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    at += c.bytes;
    if (is_upper(c.code) || is_title(c.code)) {
      if (inside) return false;
      inside = found = true;
    } else if (is_lower(c.code)) {
      if (!inside) return false;
      found = true;
    } else {
      inside = false;
    }
  }
  return found;
}

}  // namespace

std::string upper(std::string_view text) {
  return each_character(text, [](std::string& out, size_t, uint32_t code) { append_upper(out, code); });
}

std::string lower(std::string_view text) {
  return each_character(text, [&](std::string& out, size_t at, uint32_t code) { append_lower(out, text, at, code); });
}

std::string casefold(std::string_view text) {
  return each_character(text, [&](std::string& out, size_t at, uint32_t code) {
    if (const char* many = long_upper(code)) {
      out += lower(many);
    } else if (code == 0x3c2 || code == 0x3a3) {
      out += "\xcf\x83";
    } else {
      append_lower(out, text, at, code);
    }
  });
}

std::string swapcase(std::string_view text) {
  return each_character(text, [&](std::string& out, size_t at, uint32_t code) {
    if (is_upper(code)) return append_lower(out, text, at, code);
    if (is_lower(code)) return append_upper(out, code);
    append_character(out, code);
  });
}

std::string capitalize(std::string_view text) {
  return each_character(text, [&](std::string& out, size_t at, uint32_t code) {
    at == 0 ? append_title(out, code) : append_lower(out, text, at, code);
  });
}

std::string title(std::string_view text) {
  bool inside = false;
  return each_character(text, [&](std::string& out, size_t at, uint32_t code) {
    inside ? append_lower(out, text, at, code) : append_title(out, code);
    inside = is_cased(code);
  });
}

bool character_test(const std::string& name, std::string_view text, bool& holds) {
  if (name == "isalpha")
    holds = all_characters(text, is_letter);
  else if (name == "isdigit")
    holds = all_characters(text, is_digit);
  else if (name == "isdecimal")
    holds = all_characters(text, is_decimal);
  else if (name == "isnumeric")
    holds = all_characters(text, is_numeric);
  else if (name == "isalnum")
    holds = all_characters(text, [](uint32_t c) { return is_letter(c) || is_numeric(c); });
  else if (name == "isspace")
    holds = all_characters(text, is_space);
  else if (name == "isprintable")
    holds = text.empty() || all_characters(text, prints);
  else if (name == "isascii")
    holds = text.empty() || all_characters(text, [](uint32_t c) { return c < 0x80; });
  else if (name == "islower")
    holds = has_case(text, is_lower, is_upper);
  else if (name == "isupper")
    holds = has_case(text, is_upper, is_lower);
  else if (name == "istitle")
    holds = is_titled(text);
  else
    return false;
  return true;
}

std::string repr_of(std::string_view text) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (c.code == static_cast<uint32_t>(quote) || c.code == '\\') {
      out += '\\';
      out += static_cast<char>(c.code);
    } else if (c.code == '\n') {
      out += "\\n";
    } else if (c.code == '\r') {
      out += "\\r";
    } else if (c.code == '\t') {
      out += "\\t";
    } else if (prints(c.code)) {
      out += text.substr(at, c.bytes);
    } else if (c.code < 0x100) {
      out += fmt::format("\\x{:02x}", c.code);
    } else if (c.code < 0x10000) {
      out += fmt::format("\\u{:04x}", c.code);
    } else {
      out += fmt::format("\\U{:08x}", c.code);
    }
    at += c.bytes;
  }
  return out += quote;
}

std::string repr_of(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));
  int exponent = 0;
  const size_t e = shortest.find('e');
  const char* digits_of_exponent = shortest.data() + e + (shortest[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits_of_exponent, end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  const auto plain = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string out(buffer, plain);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}

}  // namespace lt2::jinja
