// Attributes, items, slices; values as text.
#include <algorithm>

#include "template/methods.h"
#include "template/operators.h"
#include "template/text.h"

namespace lt2::jinja {
namespace {

// As jinja2 names a value in "... has no attribute ...".
std::string described(const Value& value) { return value.is_none() ? "None" : value.type_name() + " object"; }

Value missing(Runtime& run, const Value& value, const Value& key) {
  if (key.is_text()) {
    const std::string name = slice_of(key.text(), 0, 1, std::min<int64_t>(key.text().length, 80));
    return Value::undefined("'" + described(value) + "' has no attribute " + repr_of(name));
  }
  return Value::undefined(described(value) + " has no element " + (iterable(key) ? "of that key" : repr_of(run, key)));
}

// The value under an index or a key, or null.
const Value* found(const Value& value, const Value& key) {
  if (value.is_dict()) return value.dict().find(key);
  if (!value.is_sequence() || !key.is_integer()) return nullptr;
  const auto& from = value.sequence();
  if (from.kind == SequenceKind::kView || from.kind == SequenceKind::kIterator) return nullptr;
  const auto size = static_cast<int64_t>(from.items.size());
  const int64_t index = key.integer() < 0 ? key.integer() + size : key.integer();
  return index >= 0 && index < size ? &from.items[static_cast<size_t>(index)] : nullptr;
}

bool hashable(const Value& key) {
  if (key.is_dict() || key.is_sequence(SequenceKind::kList)) return false;
  if (!key.is_sequence(SequenceKind::kTuple)) return true;
  const auto& items = key.sequence().items;
  return std::all_of(items.begin(), items.end(), hashable);
}

int64_t bound(const Value& value, int64_t otherwise) {
  if (value.is_none()) return otherwise;
  if (value.is_undefined()) refuse_undefined(value);
  LT2_CHECK(value.is_integer(), "slice indices must be integers or None, found {}", value.type_name());
  return value.integer();
}

Range slice_of(const Range& range, int64_t first, int64_t last, int64_t by) {
  const auto at = [&](int64_t index) {
    int64_t value = 0;
    const bool large =
        __builtin_mul_overflow(range.step, index, &value) || __builtin_add_overflow(range.start, value, &value);
    LT2_CHECK(!large, "the slice of a range does not fit integers of 64 bits");
    return value;
  };
  Range out{at(first), at(last), 0};
  LT2_CHECK(!__builtin_mul_overflow(range.step, by, &out.step),
            "the slice of a range does not fit integers of 64 bits");
  return out;
}

std::string repr_of_items(Runtime& run, const std::vector<Value>& items, int depth) {
  std::string out;
  for (const auto& item : items) {
    if (!out.empty()) out += ", ";
    out += repr_of(run, item, depth);
    run.check_room(out.size());
  }
  return out;
}

}  // namespace

Value attribute(Runtime& run, const Value& value, const std::string& name) {
  run.spend(1);
  if (value.is_undefined()) refuse_undefined(value);
  Value out;
  if (value.is_object() && value.object()->attribute(run, name, out)) return out;
  if (find_method(value, name, out)) return out;
  if (value.is_dict())
    if (const Value* there = value.dict().find(name)) return *there;
  return missing(run, value, Value::text(name));
}

Value item(Runtime& run, const Value& value, const Value& key) {
  run.spend(1);
  if (value.is_undefined()) refuse_undefined(value);
  if (value.is_text() && key.is_integer()) {
    const auto& text = value.text();
    const int64_t index = key.integer() < 0 ? key.integer() + text.length : key.integer();
    if (index < 0 || index >= text.length) return missing(run, value, key);
    if (!text.ascii()) run.spend_bytes(text.bytes.size());
    return Value::text(slice_of(text, index, 1, 1));
  }
  check_defined(run, key);
  if (hashable(key)) {
    if (value.is_dict()) spend_lookup(run, value.dict(), key);
    if (const Value* there = found(value, key)) return *there;
  }
  Value out;
  if (key.is_text()) {
    if (value.is_object() && value.object()->attribute(run, key.bytes(), out)) return out;
    if (find_method(value, key.bytes(), out)) return out;
  }
  return missing(run, value, key);
}

Value slice(Runtime& run, const Value& value, const Value& start, const Value& stop, const Value& step) {
  if (value.is_undefined()) refuse_undefined(value);
  const bool sliced = value.is_text() || (value.is_sequence() && value.sequence().kind != SequenceKind::kView &&
                                          value.sequence().kind != SequenceKind::kIterator);
  LT2_CHECK(sliced, "'{}' object cannot be sliced", value.type_name());
  const int64_t length = length_of(run, value), by = bound(step, 1);
  LT2_CHECK(by != 0, "slice step cannot be zero");
  LT2_CHECK(by != INT64_MIN, "slice step {} does not fit", by);
  const auto placed = [&](int64_t at) {
    if (at < 0) at = at < -length ? -1 : at + length;
    return by > 0 ? std::clamp<int64_t>(at, 0, length) : std::clamp<int64_t>(at, -1, length - 1);
  };
  const int64_t first = start.is_none() ? (by > 0 ? 0 : length - 1) : placed(bound(start, 0));
  const int64_t last = stop.is_none() ? (by > 0 ? length : -1) : placed(bound(stop, 0));
  const int64_t span = by > 0 ? last - first : first - last;
  const int64_t count = span <= 0 ? 0 : (span - 1) / (by > 0 ? by : -by) + 1;
  if (value.is_text()) {
    run.spend_bytes(value.bytes().size());
    return Value::text(slice_of(value.text(), first, by, count));
  }
  run.spend(count);
  std::vector<Value> items;
  for (int64_t i = 0; i < count; ++i) items.push_back(value.sequence().items[static_cast<size_t>(first + i * by)]);
  Sequence out(value.sequence().kind, std::move(items));
  if (out.kind == SequenceKind::kRange) out.range = slice_of(value.sequence().range, first, last, by);
  return Value::of(std::move(out));
}

std::string text_of(Runtime& run, const Value& value) {
  if (value.is_text()) return value.bytes();
  check_defined(run, value);
  return value.is_undefined() ? std::string() : repr_of(run, value);
}

std::string repr_of(Runtime& run, const Value& value, int depth) {
  run.spend(1);
  LT2_CHECK(depth <= kMaxValueDepth, "a value whose text is nested deeper than {} levels", kMaxValueDepth);
  if (value.is_none()) return "None";
  if (value.is_boolean()) return value.boolean() ? "True" : "False";
  if (value.is_integer()) return std::to_string(value.integer());
  if (value.is_real()) return repr_of(value.real());
  if (value.is_undefined()) return "Undefined";
  if (value.is_text()) {
    run.spend_bytes(value.bytes().size());
    return repr_of(value.bytes());
  }
  if (value.is_dict()) {
    std::string out;
    for (const auto& [key, one] : value.dict().items()) {
      if (!out.empty()) out += ", ";
      out += repr_of(run, key, depth + 1) + ": " + repr_of(run, one, depth + 1);
      run.check_room(out.size());
    }
    return "{" + out + "}";
  }
  if (value.is_object()) return value.object()->repr(run, depth);
  const auto& from = value.sequence();
  switch (from.kind) {
    case SequenceKind::kRange: {
      const std::string ends = std::to_string(from.range.start) + ", " + std::to_string(from.range.stop);
      return "range(" + ends + (from.range.step == 1 ? ")" : ", " + std::to_string(from.range.step) + ")");
    }
    case SequenceKind::kTuple:
      return "(" + repr_of_items(run, from.items, depth + 1) + (from.items.size() == 1 ? ",)" : ")");
    case SequenceKind::kList:
      return "[" + repr_of_items(run, from.items, depth + 1) + "]";
    case SequenceKind::kView:
      return std::string(from.label) + "([" + repr_of_items(run, from.items, depth + 1) + "])";
    default:
      fail("a generator has no text of its own: put |list or |join after the filter that made it");
  }
}

}  // namespace lt2::jinja
