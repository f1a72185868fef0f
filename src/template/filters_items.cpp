// Filters of lists, dicts and other values with items.
#include <algorithm>
#include <unordered_map>

#include "template/filters.h"
#include "template/literal.h"
#include "template/methods.h"
#include "template/operators.h"
#include "template/parameters.h"
#include "template/text.h"
#include "template/value_tests.h"

namespace lt2::jinja {
namespace {

Value lowered(const Value& value) { return value.is_text() ? Value::text(lower(value.bytes())) : value; }

// The value that "address.city" or 0 leads to inside an item.
class Path {
 public:
  Path(Runtime& run, const Value& attribute, bool ignore_case, const Value& otherwise = {})
      : ignore_case_(ignore_case), otherwise_(otherwise) {
    if (attribute.is_none()) return;
    if (!attribute.is_text()) {
      parts_.push_back(attribute);
      return;
    }
    run.spend_bytes(attribute.bytes().size() * 8);
    for (const auto& part : split(attribute.bytes(), ".", -1, false)) {
      const bool digits = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
      const auto index = digits ? integer_of(part, 10) : std::nullopt;
      parts_.push_back(index ? Value::integer(*index) : Value::text(part));
    }
  }

  Value operator()(Runtime& run, Value value) const {
    for (const auto& part : parts_) {
      value = item(run, value, part);
      if (!otherwise_.is_none() && value.is_undefined()) value = otherwise_;
    }
    return ignore_case_ ? lowered(value) : value;
  }

 private:
  std::vector<Value> parts_;
  bool ignore_case_;
  Value otherwise_;
};

using Keyed = std::vector<std::pair<Value, Value>>;  // key, item

void sort_by_key(Runtime& run, Keyed& items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(run, b.first, a.first) : less(run, a.first, b.first);
  });
}

// sorted() wants an integer here, where other flags may be anything.
bool reversed(const Parameters& given, size_t i) { return given.integer(i, 0) != 0; }

Value items_alone(Keyed keyed) {
  std::vector<Value> items;
  for (auto& [key, value] : keyed) items.push_back(std::move(value));
  return Value::list(std::move(items));
}

Value sort_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool ignore_case = !given.truth(run, 1, false);
  std::vector<Path> paths;
  if (given[2].is_text()) {
    for (const auto& part : split(given[2].bytes(), ",", -1, false))
      paths.emplace_back(run, Value::text(part), ignore_case);
  } else {
    paths.emplace_back(run, given[2], ignore_case);
  }
  Keyed keyed;
  for (const auto& one : items_of(run, value)) {
    std::vector<Value> keys;
    for (const auto& path : paths) keys.push_back(path(run, one));
    keyed.emplace_back(Value::list(std::move(keys)), one);
  }
  sort_by_key(run, keyed, reversed(given, 0));
  return items_alone(std::move(keyed));
}

Value dictsort(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = given.text(1, "key");
  LT2_CHECK(by == "key" || by == "value", "dictsort sorts by key or value, found {}", by);
  if (value.is_undefined()) refuse_undefined(value);
  LT2_CHECK(value.is_dict(), "dictsort wants a dict, found {}", value.type_name());
  const bool ignore_case = !given.truth(run, 0, false);
  Keyed keyed;
  for (const auto& [key, member] : value.dict().items()) {
    const Value& order = by == "key" ? key : member;
    keyed.emplace_back(ignore_case ? lowered(order) : order, Value::tuple({key, member}));
  }
  sort_by_key(run, keyed, reversed(given, 2));
  return items_alone(std::move(keyed));
}

Value groupby(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const bool ignore_case = !given.truth(run, 2, false);
  const Path path(run, given[0], ignore_case, given[1]), real_path(run, given[0], false, given[1]);
  Keyed keyed;
  for (const auto& one : items_of(run, value)) keyed.emplace_back(path(run, one), one);
  sort_by_key(run, keyed, false);
  std::vector<Value> groups;
  for (size_t begin = 0; begin < keyed.size();) {
    size_t end = begin + 1;
    std::vector<Value> items{keyed[begin].second};
    while (end < keyed.size() && equal(run, keyed[end].first, keyed[begin].first)) items.push_back(keyed[end++].second);
    Sequence group(SequenceKind::kTuple, {real_path(run, items[0]), Value::list(items)});
    group.group = true;
    groups.push_back(Value::of(std::move(group)));
    begin = end;
  }
  return Value::list(std::move(groups));
}

Value unique(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("unique", arguments, {"case_sensitive", "attribute"});
  const Path path(run, given[1], !given.truth(run, 0, false));
  Dict seen;
  std::vector<Value> items;
  for (const auto& one : items_of(run, value)) {
    const Value key = path(run, one);
    check_defined(run, key);
    spend_lookup(run, seen, key);
    if (seen.has(key)) continue;
    seen.set(key, {});
    items.push_back(one);
  }
  return Value::iterator(std::move(items));
}

template <bool largest>
Value extreme(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const Path path(run, given[1], !given.truth(run, 0, false));
  const auto items = items_of(run, value);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  Value best = items[0], best_key = path(run, best);
  for (size_t i = 1; i < items.size(); ++i) {
    const Value key = path(run, items[i]);
    if (!(largest ? less(run, best_key, key, ">") : less(run, key, best_key))) continue;
    best = items[i];
    best_key = key;
  }
  return best;
}

Value join(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("join", arguments, {"d", "attribute"});
  const Path path(run, given[1], false);
  const std::string between = given.has(0) ? text_of(run, given[0]) : "";
  std::string out;
  bool first = true;
  for (const auto& one : items_of(run, value)) {
    if (!first) out += between;
    first = false;
    out += text_of(run, path(run, one));
    run.check_room(out.size());
  }
  return run.text(std::move(out));
}

Value first(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("first", arguments, {});
  if (value.is_text() && value.text().length > 0) return Value::text(slice_of(value.text(), 0, 1, 1));
  if (value.is_sequence() && !value.sequence().items.empty()) {
    auto& items = value.sequence().items;
    const Value one = items[0];
    run.spend(static_cast<int64_t>(items.size()));
    if (value.is_sequence(SequenceKind::kIterator)) items.erase(items.begin());
    return one;
  }
  const auto items = items_of(run, value);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items[0];
}

Value last(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("last", arguments, {});
  LT2_CHECK(!value.is_sequence(SequenceKind::kIterator), "'{}' object is not reversible: put |list in front of |last",
            value.type_name());
  const auto items = items_of(run, value);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value length(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("length", arguments, {});
  const int64_t size = length_of(run, value);
  LT2_CHECK(size >= 0, "object of type '{}' has no len()", value.type_name());
  return Value::integer(size);
}

Value list(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("list", arguments, {});
  return Value::list(items_of(run, value));
}

Value items_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("items", arguments, {});
  if (value.is_undefined()) return Value::iterator({});
  LT2_CHECK(value.is_dict(), "Can only get item pairs from a mapping, found {}", value.type_name());
  std::vector<Value> items;
  for (const auto& [key, member] : value.dict().items()) items.push_back(Value::tuple({key, member}));
  run.spend(static_cast<int64_t>(items.size()));
  return Value::iterator(std::move(items));
}

Value reverse(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("reverse", arguments, {});
  if (value.is_text()) {
    run.spend_bytes(value.bytes().size());
    return Value::text(slice_of(value.text(), value.text().length - 1, -1, value.text().length));
  }
  const bool taken = value.is_sequence(SequenceKind::kIterator);
  auto items = items_of(run, value);
  std::reverse(items.begin(), items.end());
  return taken ? Value::list(std::move(items)) : Value::iterator(std::move(items));
}

Value batch(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = given.integer(0);
  std::vector<Value> rows, row;
  for (const auto& one : items_of(run, value)) {
    if (static_cast<int64_t>(row.size()) == size) rows.push_back(Value::list(std::exchange(row, {})));
    row.push_back(one);
  }
  if (row.empty()) return Value::iterator(std::move(rows));
  if (!given[1].is_none() && static_cast<int64_t>(row.size()) < size) {
    run.spend(size);
    row.resize(static_cast<size_t>(size), given[1]);
  }
  rows.push_back(Value::list(std::move(row)));
  return Value::iterator(std::move(rows));
}

Value slice_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("slice", arguments, {"slices", "fill_with"}, 1);
  const auto items = items_of(run, value);
  const int64_t slices = given.integer(0), size = static_cast<int64_t>(items.size());
  LT2_CHECK(slices != 0, "integer division or modulo by zero");
  if (slices < 0) return Value::iterator({});
  run.spend(slices);
  std::vector<Value> rows;
  int64_t at = 0;
  for (int64_t i = 0; i < slices; ++i) {
    const bool extra = i < size % slices;
    const int64_t end = at + size / slices + extra;
    std::vector<Value> row(items.begin() + at, items.begin() + end);
    if (!given[1].is_none() && !extra) row.push_back(given[1]);
    rows.push_back(Value::list(std::move(row)));
    at = end;
  }
  return Value::iterator(std::move(rows));
}

Value sum(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("sum", arguments, {"attribute", "start"});
  const Path path(run, given[0], false);
  Value total = given.has(1) ? given[1] : Value::integer(0);
  for (const auto& one : items_of(run, value)) total = arithmetic(run, "+", total, path(run, one));
  return total;
}

Value attr(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("attr", arguments, {"name"}, 1);
  if (value.is_undefined()) refuse_undefined(value);
  Value out;
  const std::string& name = given.text(0);
  if (value.is_object() && value.object()->attribute(run, name, out)) return out;
  if (find_method(value, name, out)) return out;
  return Value::undefined("'" + value.type_name() + " object' has no attribute " + repr_of(name));
}

Value map(Runtime& run, const Value& value, const Arguments& arguments) {
  std::vector<Value> items;
  if (!truth(run, value)) return Value::iterator({});
  if (arguments.positional.empty()) {
    const Parameters given("map", arguments, {"attribute", "default"}, 1);
    const Path path(run, given[0], false, given[1]);
    for (const auto& one : items_of(run, value)) items.push_back(path(run, one));
    return Value::iterator(std::move(items));
  }
  LT2_CHECK(arguments.positional[0].is_text(), "map wants the name of a filter, found {}",
            arguments.positional[0].type_name());
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin());
  const std::string& filter = arguments.positional[0].bytes();
  for (const auto& one : items_of(run, value)) items.push_back(apply_filter(run, filter, one, rest));
  return Value::iterator(std::move(items));
}

// select and reject: by a test on the item itself, or on an attribute of it.
template <bool wanted, bool by_attribute>
Value select(Runtime& run, const Value& value, const Arguments& arguments) {
  if (!truth(run, value)) return Value::iterator({});
  Arguments rest = arguments;
  Path path(run, {}, false);
  const auto take = [&] {
    const Value front = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
    return front;
  };
  if (by_attribute) {
    LT2_CHECK(!rest.positional.empty(), "Missing parameter for attribute name");
    path = Path(run, take(), false);
  }
  std::string test;
  if (!rest.positional.empty()) {
    const Value name = take();
    LT2_CHECK(name.is_text(), "expected the name of a test, found {}", name.type_name());
    test = name.bytes();
  }
  std::vector<Value> items;
  for (const auto& one : items_of(run, value)) {
    const Value looked_at = path(run, one);
    const bool holds = test.empty() ? truth(run, looked_at) : apply_test(run, test, looked_at, rest);
    if (holds == wanted) items.push_back(one);
  }
  return Value::iterator(std::move(items));
}

const std::unordered_map<std::string, Filter>& filters() {
  static const std::unordered_map<std::string, Filter> all = {
      {"attr", attr},
      {"batch", batch},
      {"count", length},
      {"dictsort", dictsort},
      {"first", first},
      {"groupby", groupby},
      {"items", items_filter},
      {"join", join},
      {"last", last},
      {"length", length},
      {"list", list},
      {"map", map},
      {"max", extreme<true>},
      {"min", extreme<false>},
      {"reject", select<false, false>},
      {"rejectattr", select<false, true>},
      {"reverse", reverse},
      {"select", select<true, false>},
      {"selectattr", select<true, true>},
      {"slice", slice_filter},
      {"sort", sort_filter},
      {"sum", sum},
      {"unique", unique},
  };
  return all;
}

}  // namespace

Filter item_filter(const std::string& name) {
  const auto there = filters().find(name);
  return there == filters().end() ? nullptr : there->second;
}

}  // namespace lt2::jinja
