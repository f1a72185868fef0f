// Filters that make numbers, and default.
#include <cmath>
#include <cstdio>
#include <unordered_map>

#include "template/filters.h"
#include "template/literal.h"
#include "template/operators.h"
#include "template/parameters.h"

namespace lt2::jinja {
namespace {

Value abs_filter(Runtime&, const Value& value, const Arguments& arguments) {
  const Parameters given("abs", arguments, {});
  if (value.is_undefined()) refuse_undefined(value);
  LT2_CHECK(value.is_number(), "bad operand type for abs(): '{}'", value.type_name());
  if (value.is_real()) return Value::real(std::fabs(value.real()));
  return value.integer() < 0 ? negative(value) : Value::integer(value.integer());
}

// int() of a float. A result beyond 64 bits is an error, because Python would compute with it.
Value whole(double value) {
  LT2_CHECK(!std::isinf(value), "cannot convert float infinity to integer");
  LT2_CHECK(std::fabs(value) < 9223372036854775808.0, "{} does not fit an integer of 64 bits", value);
  return Value::integer(static_cast<int64_t>(value));
}

Value int_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("int", arguments, {"default", "base"});
  const Value otherwise = given.has(0) ? given[0] : Value::integer(0);
  if (value.is_undefined()) refuse_undefined(value);
  if (value.is_integer()) return Value::integer(value.integer());
  if (value.is_real()) return std::isnan(value.real()) ? otherwise : whole(value.real());
  if (!value.is_text()) return otherwise;
  run.spend_bytes(value.bytes().size());
  const int64_t base = given.integer(1, 10);
  if (base == 0 || (base >= 2 && base <= 36)) {
    bool too_large = false;
    if (const auto read = integer_of(value.bytes(), static_cast<int>(base), &too_large)) return Value::integer(*read);
    LT2_CHECK(!too_large, "{} does not fit an integer of 64 bits", value.bytes());
  }
  const auto read = real_of(value.bytes());  // "42.5"|int is 42
  return !read || std::isnan(*read) || std::isinf(*read) ? otherwise : whole(*read);
}

Value float_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("float", arguments, {"default"});
  const Value otherwise = given.has(0) ? given[0] : Value::real(0);
  if (value.is_undefined()) refuse_undefined(value);
  if (value.is_number()) return Value::real(value.real());
  if (!value.is_text()) return otherwise;
  run.spend_bytes(value.bytes().size());
  const auto read = real_of(value.bytes());
  return read ? Value::real(*read) : otherwise;
}

// Half to even, as Python rounds integers.
Value rounded(int64_t value, int64_t precision) {
  if (precision >= 0) return Value::integer(value);
  if (precision < -18) return Value::integer(0);
  int64_t unit = 1;
  for (int64_t i = 0; i > precision; --i) unit *= 10;
  int64_t rest = value % unit;
  if (rest < 0) rest += unit;
  int64_t low = 0, result = 0;
  bool fits = !__builtin_sub_overflow(value, rest, &low);
  const bool odd = (low / unit) % 2 != 0;
  const bool up = rest > unit - rest || (rest == unit - rest && odd);
  result = low;
  // The smaller multiple may not fit where the larger one does.
  if (up) fits = !__builtin_add_overflow(value, unit - rest, &result);
  LT2_CHECK(fits, "the result does not fit an integer of 64 bits");
  return Value::integer(result);
}

Value rounded(double value, int64_t precision) {
  if (std::isnan(value) || std::isinf(value) || precision > 323) return Value::real(value);
  if (precision < -308) return Value::real(std::copysign(0.0, value));
  if (precision < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    return Value::real(std::nearbyint(value / unit) * unit);
  }
  // The digits of the exact value, half to even.
  char digits[700];
  std::snprintf(digits, sizeof digits, "%.*f", static_cast<int>(precision), value);
  return Value::real(*real_of(digits));
}

Value round_filter(Runtime&, const Value& value, const Arguments& arguments) {
  const Parameters given("round", arguments, {"precision", "method"});
  if (value.is_undefined()) refuse_undefined(value);
  const int64_t precision = given.integer(0, 0);
  const std::string method = given.text(1, "common");
  LT2_CHECK(method == "common" || method == "ceil" || method == "floor",
            "method must be common, ceil or floor, found {}", method);
  LT2_CHECK(value.is_number(), "round wants a number, found {}", value.type_name());
  if (method == "common")
    return value.is_integer() ? rounded(value.integer(), precision) : rounded(value.real(), precision);
  LT2_CHECK(std::abs(precision) <= 300, "a precision of {}", precision);
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.real() * unit;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

Value filesizeformat(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("filesizeformat", arguments, {"binary"});
  const bool binary = given.truth(run, 0, false);
  LT2_CHECK(value.is_number() || (value.is_text() && real_of(value.bytes())), "filesizeformat wants a number, found {}",
            value.type_name());
  const double bytes = value.is_text() ? *real_of(value.bytes()) : value.real(), base = binary ? 1024 : 1000;
  if (bytes == 1) return Value::text("1 Byte");
  if (!(bytes >= base)) return run.text(fmt::format("{:.0f} Bytes", std::trunc(bytes)));
  double unit = base;
  for (const char prefix : std::string("kMGTPEZY")) {
    unit *= base;
    if (bytes < unit || prefix == 'Y')
      return run.text(fmt::format("{:.1f} {}{}", base * bytes / unit,
                                  static_cast<char>(binary && prefix == 'k' ? 'K' : prefix), binary ? "iB" : "B"));
  }
  return {};
}

Value default_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("default", arguments, {"default_value", "boolean"});
  const bool missing = value.is_undefined() || (given.truth(run, 1, false) && !truth(run, value));
  if (!missing) return value;
  return given.has(0) ? given[0] : Value::text("");
}

const std::unordered_map<std::string, Filter>& filters() {
  static const std::unordered_map<std::string, Filter> all = {
      {"abs", abs_filter},
      {"int", int_filter},
      {"float", float_filter},
      {"round", round_filter},
      {"default", default_filter},
      {"d", default_filter},
      {"filesizeformat", filesizeformat},
  };
  return all;
}

}  // namespace

Filter number_filter(const std::string& name) {
  const auto there = filters().find(name);
  return there == filters().end() ? nullptr : there->second;
}

}  // namespace lt2::jinja
