#include "template/operators.h"

#include <algorithm>
#include <cmath>

#include "template/format.h"
#include "template/text.h"

namespace lt2::jinja {
namespace {

[[noreturn]] void refuse_operands(const std::string& sign, const Value& a, const Value& b) {
  fail("unsupported operand types for {}: '{}' and '{}'", sign, a.type_name(), b.type_name());
}

// Both exact: 64 bits fit the long double of x86, and the quadruple one of others.
long double exactly(const Value& number) {
  return number.is_real() ? static_cast<long double>(number.real()) : static_cast<long double>(number.integer());
}

bool same_items(Runtime& run, const Sequence& a, const Sequence& b) {
  if (a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i)
    if (!equal(run, a.items[i], b.items[i])) return false;
  return true;
}

bool same_members(Runtime& run, const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.items()) {
    spend_lookup(run, b, key);
    const Value* other = b.find(key);
    if (!other || !equal(run, value, *other)) return false;
  }
  return true;
}

[[noreturn]] void too_large() { fail("the result does not fit an integer of 64 bits"); }

Value power_of_integers(Runtime& run, int64_t base, int64_t exponent) {
  if (exponent < 0) {
    LT2_CHECK(base != 0, "0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  if (base == 0 || base == 1) return Value::integer(exponent == 0 ? 1 : base);
  if (base == -1) return Value::integer(exponent % 2 ? -1 : 1);
  for (; exponent > 0; --exponent) {
    run.spend(1);
    if (__builtin_mul_overflow(result, base, &result)) too_large();
  }
  return Value::integer(result);
}

Value of_integers(Runtime& run, const std::string& sign, int64_t a, int64_t b) {
  int64_t result = 0;
  if (sign == "+") {
    if (__builtin_add_overflow(a, b, &result)) too_large();
  } else if (sign == "-") {
    if (__builtin_sub_overflow(a, b, &result)) too_large();
  } else if (sign == "*") {
    if (__builtin_mul_overflow(a, b, &result)) too_large();
  } else if (sign == "**") {
    return power_of_integers(run, a, b);
  } else {
    LT2_CHECK(b != 0, "division by zero");
    if (sign == "/") return Value::real(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) {  // the smallest integer has no negative
      if (sign == "//" && __builtin_sub_overflow(int64_t{0}, a, &result)) too_large();
      return Value::integer(sign == "//" ? result : 0);
    }
    const bool down = a % b != 0 && (a < 0) != (b < 0);  // Python rounds down
    result = sign == "//" ? a / b - down : a % b + (down ? b : 0);
  }
  return Value::integer(result);
}

Value of_reals(const std::string& sign, double a, double b) {
  if (sign == "+") return Value::real(a + b);
  if (sign == "-") return Value::real(a - b);
  if (sign == "*") return Value::real(a * b);
  if (sign == "**") {
    LT2_CHECK(a != 0 || b >= 0, "0.0 cannot be raised to a negative power");
    LT2_CHECK(a >= 0 || b == std::floor(b), "a root of a negative number: complex numbers are not in the subset");
    const double result = std::pow(a, b);
    LT2_CHECK(!std::isinf(result) || std::isinf(a) || std::isinf(b), "the result is too large for a float");
    return Value::real(result);
  }
  LT2_CHECK(b != 0, "float division by zero");
  if (sign == "/") return Value::real(a / b);
  double rest = std::fmod(a, b);
  const double whole = (a - rest) / b;
  const bool down = rest != 0 && (rest < 0) != (b < 0);
  if (down) rest += b;
  if (rest == 0) rest = std::copysign(0.0, b);
  if (sign == "%") return Value::real(rest);
  const double quotient = down ? whole - 1 : whole;
  if (quotient == 0) return Value::real(std::copysign(0.0, a / b));
  const double floor = std::floor(quotient);
  return Value::real(quotient - floor > 0.5 ? floor + 1 : floor);
}

Value repeated(Runtime& run, const Value& value, int64_t times) {
  times = std::max<int64_t>(times, 0);
  if (value.is_text()) {
    const auto& text = value.bytes();
    size_t bytes = 0;
    if (__builtin_mul_overflow(text.size(), static_cast<size_t>(times), &bytes)) bytes = SIZE_MAX;
    run.check_size(bytes);
    std::string out;
    out.reserve(bytes);
    if (!text.empty())
      for (int64_t i = 0; i < times; ++i) out += text;
    return Value::text(std::move(out));
  }
  const auto& from = value.sequence();
  int64_t count = 0;
  if (__builtin_mul_overflow(static_cast<int64_t>(from.items.size()), times, &count)) count = INT64_MAX;
  LT2_CHECK(count <= run.options.limits.steps, "a {} of {} items: the limit is {}", value.type_name(), count,
            run.options.limits.steps);
  run.spend(count);
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(count));
  if (!from.items.empty())
    for (int64_t i = 0; i < times; ++i) items.insert(items.end(), from.items.begin(), from.items.end());
  return Value::sequence(from.kind, std::move(items));
}

bool repeats(const Value& value) {
  return value.is_text() || value.is_sequence(SequenceKind::kList) || value.is_sequence(SequenceKind::kTuple);
}

Value joined(Runtime& run, const Value& a, const Value& b) {
  if (a.is_text()) {
    run.check_size(a.bytes().size() + b.bytes().size());
    return Value::text(a.bytes() + b.bytes());
  }
  const auto &left = a.sequence(), &right = b.sequence();
  run.spend(static_cast<int64_t>(left.items.size() + right.items.size()));
  std::vector<Value> items = left.items;
  items.insert(items.end(), right.items.begin(), right.items.end());
  return Value::sequence(left.kind, std::move(items));
}

}  // namespace

void spend_lookup(Runtime& run, const Dict& dict, const Value& key) {
  if (key.is_text()) return run.spend_bytes(key.bytes().size());
  run.spend(static_cast<int64_t>(dict.size()));
}

void refuse_undefined(const Value& value) { fail("{}", value.undefined().message); }

void check_defined(Runtime& run, const Value& value) {
  if (value.is_undefined() && run.options.strict_undefined && !value.undefined().lenient) refuse_undefined(value);
}

bool truth(Runtime& run, const Value& value) {
  check_defined(run, value);
  if (value.is_none() || value.is_undefined()) return false;
  if (value.is_integer()) return value.integer() != 0;
  if (value.is_real()) return value.real() != 0;
  if (value.is_text()) return !value.bytes().empty();
  if (value.is_dict()) return value.dict().size() > 0;
  if (value.is_sequence()) return value.sequence().kind == SequenceKind::kIterator || !value.sequence().items.empty();
  return true;
}

bool equal(Runtime& run, const Value& a, const Value& b) {
  run.spend(1);
  check_defined(run, a);
  check_defined(run, b);
  if (a.is_number() && b.is_number()) return exactly(a) == exactly(b);
  if (a.is_text() && b.is_text()) {
    run.spend_bytes(std::min(a.bytes().size(), b.bytes().size()));
    return a.bytes() == b.bytes();
  }
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_dict() && b.is_dict()) return same_members(run, a.dict(), b.dict());
  if (a.is_sequence() && b.is_sequence()) {
    const auto &left = a.sequence(), &right = b.sequence();
    const bool by_items = left.kind == right.kind && left.kind != SequenceKind::kIterator;
    return by_items ? same_items(run, left, right) : &left == &right;
  }
  return a.same_as(b);
}

bool less(Runtime& run, const Value& a, const Value& b, const char* sign) {
  run.spend(1);
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  if (a.is_number() && b.is_number()) return exactly(a) < exactly(b);
  if (a.is_text() && b.is_text()) {
    run.spend_bytes(std::min(a.bytes().size(), b.bytes().size()));
    return a.bytes() < b.bytes();  // UTF-8 sorts as its code points do
  }
  if (a.is_sequence() && b.is_sequence() && a.sequence().kind == b.sequence().kind &&
      (a.is_sequence(SequenceKind::kList) || a.is_sequence(SequenceKind::kTuple))) {
    const auto &left = a.sequence().items, &right = b.sequence().items;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i)
      if (!equal(run, left[i], right[i])) return less(run, left[i], right[i], sign);
    return left.size() < right.size();
  }
  fail("'{}' is not supported between '{}' and '{}'", sign, a.type_name(), b.type_name());
}

bool compare(Runtime& run, const std::string& sign, const Value& a, const Value& b) {
  if (sign == "==") return equal(run, a, b);
  if (sign == "!=") return !equal(run, a, b);
  if (sign == "in") return contains(run, b, a);
  if (sign == "not in") return !contains(run, b, a);
  const bool not_a_number = (a.is_real() && std::isnan(a.real())) || (b.is_real() && std::isnan(b.real()));
  if (sign == "<") return less(run, a, b, "<");
  if (sign == ">") return less(run, b, a, ">");
  if (not_a_number && a.is_number() && b.is_number()) return false;
  return sign == "<=" ? !less(run, b, a, "<=") : !less(run, a, b, ">=");
}

bool contains(Runtime& run, const Value& container, const Value& item) {
  check_defined(run, container);
  if (container.is_undefined()) return false;
  if (container.is_text()) {
    LT2_CHECK(item.is_text(), "'in <string>' requires string as left operand, not {}", item.type_name());
    run.spend_bytes(container.bytes().size());
    return find_text(container.bytes(), item.bytes()) != std::string::npos;
  }
  if (container.is_dict()) {
    check_defined(run, item);
    spend_lookup(run, container.dict(), item);
    return container.dict().has(item);
  }
  LT2_CHECK(container.is_sequence(), "argument of type '{}' is not iterable", container.type_name());
  const auto found = items_of(run, container);
  return std::any_of(found.begin(), found.end(), [&](const Value& one) { return equal(run, one, item); });
}

Value arithmetic(Runtime& run, const std::string& sign, const Value& a, const Value& b) {
  if (sign == "%" && a.is_text()) return format_percent(run, a.bytes(), b);
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  if (a.is_integer() && b.is_integer()) return of_integers(run, sign, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return of_reals(sign, a.real(), b.real());
  if (sign == "*" && repeats(a) && b.is_integer()) return repeated(run, a, b.integer());
  if (sign == "*" && repeats(b) && a.is_integer()) return repeated(run, b, a.integer());
  const bool alike = (a.is_text() && b.is_text()) ||
                     (a.is_sequence() && b.is_sequence() && a.sequence().kind == b.sequence().kind && repeats(a));
  if (sign == "+" && alike) return joined(run, a, b);
  refuse_operands(sign, a, b);
}

Value negative(const Value& value) {
  if (value.is_undefined()) refuse_undefined(value);
  LT2_CHECK(value.is_number(), "bad operand type for unary -: '{}'", value.type_name());
  if (value.is_real()) return Value::real(-value.real());
  if (value.integer() == INT64_MIN) too_large();
  return Value::integer(-value.integer());
}

Value positive(const Value& value) {
  if (value.is_undefined()) refuse_undefined(value);
  LT2_CHECK(value.is_number(), "bad operand type for unary +: '{}'", value.type_name());
  return value.is_real() ? value : Value::integer(value.integer());
}

bool iterable(const Value& value) {
  return value.is_text() || value.is_dict() || value.is_sequence() || value.is_undefined();
}

std::vector<Value> items_of(Runtime& run, const Value& value) {
  check_defined(run, value);
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  LT2_CHECK(iterable(value), "'{}' object is not iterable", value.type_name());
  if (value.is_text()) {
    run.spend(value.text().length);
    for (auto& character : characters_of(value.bytes())) items.push_back(Value::text(std::move(character)));
  } else if (value.is_dict()) {
    run.spend(static_cast<int64_t>(value.dict().size()));
    for (const auto& [key, unused] : value.dict().items()) items.push_back(key);
  } else {
    auto& from = value.sequence();
    run.spend(static_cast<int64_t>(from.items.size()));
    if (from.kind == SequenceKind::kIterator) return std::exchange(from.items, {});
    items = from.items;
  }
  return items;
}

int64_t length_of(Runtime& run, const Value& value) {
  check_defined(run, value);
  if (value.is_undefined()) return 0;
  if (value.is_text()) return value.text().length;
  if (value.is_dict()) return static_cast<int64_t>(value.dict().size());
  if (value.is_sequence() && value.sequence().kind != SequenceKind::kIterator)
    return static_cast<int64_t>(value.sequence().items.size());
  Value length;
  if (value.is_object() && value.object()->type_name() == "LoopContext" &&
      value.object()->attribute(run, "length", length))
    return length.integer();
  return -1;
}

}  // namespace lt2::jinja
