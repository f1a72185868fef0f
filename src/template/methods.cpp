#include "template/methods.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "template/function.h"
#include "template/operators.h"
#include "template/parameters.h"
#include "template/text_methods.h"

namespace lt2::jinja {
namespace {

bool among(const std::string& name, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* one) { return name == one; });
}

Value index_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("index()", arguments, {"value", "start", "stop"}, 1);
  const auto& items = self.sequence().items;
  const auto size = static_cast<int64_t>(items.size());
  const auto placed = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size); };
  const int64_t stop = placed(given.integer(2, size));
  for (int64_t i = placed(given.integer(1, 0)); i < stop; ++i)
    if (equal(run, items[static_cast<size_t>(i)], given[0])) return Value::integer(i);
  fail("{} is not in the {}", repr_of(run, given[0]), self.type_name());
}

Value count_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("count()", arguments, {"value"}, 1);
  int64_t count = 0;
  for (const auto& item : self.sequence().items) count += equal(run, item, given[0]);
  return Value::integer(count);
}

Value copy_method(Runtime&, const Value& self, const Arguments& arguments) {
  const Parameters given("copy()", arguments, {});
  return self;  // nothing can change it
}

Value get_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("get()", arguments, {"key", "default"}, 1);
  check_defined(run, given[0]);
  spend_lookup(run, self.dict(), given[0]);
  const Value* there = self.dict().find(given[0]);
  return there ? *there : given[1];
}

enum class View { kKeys, kValues, kItems };

template <View view>
Value view_method(Runtime& run, const Value& self, const Arguments& arguments) {
  constexpr const char* kLabels[] = {"dict_keys", "dict_values", "dict_items"};
  const Parameters given(kLabels[static_cast<int>(view)], arguments, {});
  const auto& members = self.dict().items();
  run.spend(static_cast<int64_t>(members.size()));
  std::vector<Value> items;
  items.reserve(members.size());
  for (const auto& [key, value] : members)
    items.push_back(view == View::kKeys ? key : view == View::kValues ? value : Value::tuple({key, value}));
  Sequence out(SequenceKind::kView, std::move(items));
  out.label = kLabels[static_cast<int>(view)];
  return Value::of(std::move(out));
}

Value is_integer_method(Runtime&, const Value& self, const Arguments& arguments) {
  const Parameters given("is_integer()", arguments, {});
  return Value::boolean(std::isfinite(self.real()) && self.real() == std::floor(self.real()));
}

Value not_here(Runtime&, const Value& self, const Arguments&) {
  fail("this method of '{}' is not in the subset of Jinja that runs here", self.type_name());
}

Method dict_method(const std::string& name) {
  if (name == "get") return get_method;
  if (name == "items") return view_method<View::kItems>;
  if (name == "keys") return view_method<View::kKeys>;
  if (name == "values") return view_method<View::kValues>;
  if (name == "copy") return copy_method;
  return name == "fromkeys" ? not_here : nullptr;
}

Method method_of(const Value& value, const std::string& name) {
  if (value.is_text()) {
    if (const Method method = text_method(name)) return method;
    return among(name, {"encode", "translate", "maketrans", "isidentifier"}) ? not_here : nullptr;
  }
  if (value.is_dict()) return dict_method(name);
  if (value.is_real() && name == "is_integer") return is_integer_method;
  if (value.is_number() && among(name, {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes",
                                        "fromhex", "hex", "to_bytes"}))
    return not_here;
  if (!value.is_sequence()) return nullptr;
  const auto kind = value.sequence().kind;
  const bool counts = kind == SequenceKind::kList || kind == SequenceKind::kTuple || kind == SequenceKind::kRange;
  if (counts && name == "index") return index_method;
  if (counts && name == "count") return count_method;
  return kind == SequenceKind::kList && name == "copy" ? copy_method : nullptr;
}

bool changes(const Value& value, const std::string& name) {
  if (value.is_dict()) return among(name, {"clear", "pop", "popitem", "setdefault", "update"});
  return value.is_sequence(SequenceKind::kList) &&
         among(name, {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
}

// Attributes that are values: of numbers, ranges and the groups of groupby.
bool plain_attribute(const Value& value, const std::string& name, Value& out) {
  if (value.is_number() && (name == "real" || name == "imag")) {
    out = name == "real" ? (value.is_boolean() ? Value::integer(value.integer()) : value)
                         : (value.is_real() ? Value::real(0) : Value::integer(0));
    return true;
  }
  if (!value.is_sequence()) return false;
  const auto& sequence = value.sequence();
  if (sequence.kind == SequenceKind::kRange && among(name, {"start", "stop", "step"})) {
    const Range& range = sequence.range;
    out = Value::integer(name == "start" ? range.start : name == "stop" ? range.stop : range.step);
    return true;
  }
  if (!sequence.group || (name != "grouper" && name != "list")) return false;
  out = sequence.items[name == "grouper" ? 0 : 1];
  return true;
}

}  // namespace

bool find_method(const Value& value, const std::string& name, Value& out) {
  if (changes(value, name)) {
    out = Value::undefined("'" + name + "' would change a " + value.type_name() +
                           ", which templates may not: use a namespace, or + to make a new one");
    return true;
  }
  if (plain_attribute(value, name, out)) return true;
  const Method method = method_of(value, name);
  if (!method) return false;
  out = Function::make(
      name, [value, method](Runtime& run, const Arguments& arguments) { return method(run, value, arguments); },
      value.depth());
  return true;
}

}  // namespace lt2::jinja
