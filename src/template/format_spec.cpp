#include "template/format_spec.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "template/text.h"

namespace lt2::jinja {
namespace {

constexpr int64_t kMostDigits = 10'000;

std::string in_base(uint64_t value, unsigned base, bool upper_case) {
  const char* digits = upper_case ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string out;
  do out += digits[value % base];
  while ((value /= base) > 0);
  std::reverse(out.begin(), out.end());
  return out;
}

std::string integer_digits(int64_t value, const FormatSpec& spec) {
  const uint64_t magnitude = value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  switch (spec.type) {
    case 'x':
      return (spec.alternate ? "0x" : "") + in_base(magnitude, 16, false);
    case 'X':
      return (spec.alternate ? "0X" : "") + in_base(magnitude, 16, true);
    case 'o':
      return (spec.alternate ? "0o" : "") + in_base(magnitude, 8, false);
    case 'b':
      return (spec.alternate ? "0b" : "") + in_base(magnitude, 2, false);
    default:
      return in_base(magnitude, 10, false);
  }
}

std::string print(const char* format, int64_t precision, double value) {
  const int size = std::snprintf(nullptr, 0, format, static_cast<int>(precision), value);
  std::string out(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), format, static_cast<int>(precision), value);
  out.pop_back();
  return out;
}

std::string real_digits(double value, const FormatSpec& spec) {
  const int64_t digits = spec.precision < 0 ? 6 : spec.precision;
  if (std::isnan(value) || std::isinf(value)) {
    const bool capital = spec.type == 'F' || spec.type == 'E' || spec.type == 'G';
    const std::string word = std::isnan(value) ? (capital ? "NAN" : "nan") : (capital ? "INF" : "inf");
    return spec.type == '%' ? word + "%" : word;
  }
  switch (spec.type) {
    case '\0': {
      if (spec.precision < 0) return repr_of(value);
      // As g, but never without a digit after the point.
      std::string out = print("%.*g", std::max<int64_t>(digits, 1), value);
      return out.find_first_of(".en") == std::string::npos ? out + ".0" : out;
    }
    case 'e':
      return print("%.*e", digits, value);
    case 'E':
      return print("%.*E", digits, value);
    case 'g':
    case 'n':
      return print(spec.alternate ? "%#.*g" : "%.*g", digits, value);
    case 'G':
      return print(spec.alternate ? "%#.*G" : "%.*G", digits, value);
    case '%':
      return print("%.*f", digits, value * 100) + "%";
    default:
      return print("%.*f", digits, value);
  }
}

// 1234567 as 1,234,567: digits up to the first other character.
std::string grouped(const std::string& digits, char group, size_t size) {
  size_t end = 0;
  while (end < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[end])) && digits[end] != 'e') ++end;
  std::string out;
  for (size_t i = 0; i < end; ++i) {
    if (i > 0 && (end - i) % size == 0) out += group;
    out += digits[i];
  }
  return out + digits.substr(end);
}

}  // namespace

int64_t take_number(std::string_view& text, int64_t otherwise) {
  int64_t value = 0;
  size_t at = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    value = value * 10 + (text[at] - '0');
    LT2_CHECK(value <= INT32_MAX, "too many digits in a format");
  }
  text.remove_prefix(at);
  return at == 0 ? otherwise : value;
}

std::string number_text(Runtime& run, const Value& value, const FormatSpec& spec) {
  LT2_CHECK(spec.precision <= kMostDigits, "a number of {} digits: the limit is {}", spec.precision, kMostDigits);
  run.spend_bytes(static_cast<size_t>(std::max<int64_t>(spec.precision, 0)) * 8);
  const bool as_integer = value.is_integer() &&
                          (spec.type == '\0' || std::string_view("dibcoxXn").find(spec.type) != std::string_view::npos);
  LT2_CHECK(as_integer || spec.type == '\0' || std::string_view("eEfFgGn%").find(spec.type) != std::string_view::npos,
            "unknown format code '{}' for a value of type '{}'", spec.type, value.type_name());
  const bool negative = as_integer ? value.integer() < 0 : std::signbit(value.real()) && !std::isnan(value.real());
  std::string digits;
  if (as_integer) {
    digits = integer_digits(value.integer(), spec);
  } else {
    digits = real_digits(std::fabs(value.real()), spec);
  }
  if (spec.group)
    digits =
        grouped(digits, spec.group,
                as_integer && std::string_view("boxX").find(spec.type) != std::string_view::npos && spec.type ? 4 : 3);
  if (negative) return "-" + digits;
  return spec.sign == '-' ? digits : std::string(1, spec.sign) + digits;
}

std::string padded(Runtime& run, std::string text, const FormatSpec& spec, char align) {
  const int64_t length = Text(text).length;
  if (length >= spec.width) return text;
  const int64_t missing = spec.width - length;
  run.check_size(text.size() + static_cast<size_t>(missing) * spec.fill.size());
  const auto fill = [&](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  switch (align) {
    case '<':
      return text + fill(missing);
    case '^':
      return fill(missing / 2) + text + fill(missing - missing / 2);
    case '=': {
      size_t front = !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
      if (spec.alternate && text.size() > front + 1 && text[front] == '0' &&
          std::isalpha(static_cast<unsigned char>(text[front + 1])))
        front += 2;
      return text.substr(0, front) + fill(missing) + text.substr(front);
    }
    default:
      return fill(missing) + text;
  }
}

}  // namespace lt2::jinja
