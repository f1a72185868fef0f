#include "template/value.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/characters.h"
#include "base/error.h"
#include "base/utf8.h"

namespace lt2::jinja {
namespace {

constexpr size_t kFewKeys = 8;  // up to here a look at each of them is the quickest search

int inside(const Value& value, int depth) {
  depth = std::max(depth, value.depth() + 1);
  LT2_CHECK(depth <= kMaxValueDepth, "values lie in each other at most {} deep, found {}", kMaxValueDepth, depth);
  return depth;
}

// Equality of keys: 1, 1.0 and True are one.
bool same_key(const Value& a, const Value& b) {
  if (a.is_text() || b.is_text()) return a.is_text() && b.is_text() && a.bytes() == b.bytes();
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return a.integer() == b.integer();
    return static_cast<long double>(a.is_real() ? a.real() : 0) + (a.is_real() ? 0 : a.integer()) ==
           static_cast<long double>(b.is_real() ? b.real() : 0) + (b.is_real() ? 0 : b.integer());
  }
  if (a.is_sequence() && b.is_sequence()) {
    const auto &left = a.sequence(), &right = b.sequence();
    return left.kind == right.kind &&
           std::equal(left.items.begin(), left.items.end(), right.items.begin(), right.items.end(), same_key);
  }
  return a.same_as(b) || (a.is_undefined() && b.is_undefined());
}

void check_hashable(const Value& key) {
  const bool holds_others = key.is_dict() || key.is_sequence(SequenceKind::kList);
  LT2_CHECK(!holds_others, "unhashable type: '{}'", key.type_name());
  if (!key.is_sequence(SequenceKind::kTuple)) return;
  for (const auto& item : key.sequence().items) check_hashable(item);
}

}  // namespace

Text::Text(std::string utf8) : bytes(std::move(utf8)) {
  length =
      std::count_if(bytes.begin(), bytes.end(), [](char byte) { return (static_cast<uint8_t>(byte) & 0xc0) != 0x80; });
}

Sequence::Sequence(SequenceKind kind_of, std::vector<Value> with) : kind(kind_of), items(std::move(with)) {
  for (const auto& item : items) depth = inside(item, depth);
  if (kind == SequenceKind::kIterator) label = "generator";
}

size_t Dict::place_of(std::string_view key) const {
  if (!places_.empty()) {
    const auto place = places_.find(key);
    return place == places_.end() ? items_.size() : place->second;
  }
  size_t at = 0;
  while (at < items_.size() && !(items_[at].first.is_text() && items_[at].first.bytes() == key)) ++at;
  return at;
}

size_t Dict::place_of(const Value& key) const {
  if (key.is_text()) return place_of(std::string_view(key.bytes()));
  check_hashable(key);
  size_t at = 0;
  while (at < items_.size() && !same_key(items_[at].first, key)) ++at;
  return at;
}

const Value* Dict::find(std::string_view key) const {
  const size_t at = place_of(key);
  return at < items_.size() ? &items_[at].second : nullptr;
}

const Value* Dict::find(const Value& key) const {
  const size_t at = place_of(key);
  return at < items_.size() ? &items_[at].second : nullptr;
}

void Dict::set(const Value& key, Value value) {
  depth_ = inside(key, inside(value, depth_));
  const size_t at = place_of(key);
  if (at < items_.size()) {
    items_[at].second = std::move(value);
    return;
  }
  items_.emplace_back(key, std::move(value));
  if (items_.size() <= kFewKeys) return;
  // Views of the keys' own texts, which stay where they are when `items_` grows.
  const size_t known = places_.empty() ? 0 : at;
  for (size_t i = known; i < items_.size(); ++i)
    if (items_[i].first.is_text()) places_.emplace(items_[i].first.bytes(), i);
}

bool Object::attribute(Runtime&, const std::string&, Value&) { return false; }
Value Object::call(Runtime&, Arguments&) { fail("'{}' object is not callable", type_name()); }
std::string Object::repr(Runtime&, int) const {
  fail("a {} has no text: Python would print where it lies in memory", type_name());
}

std::string Value::type_name() const {
  if (is_none()) return "NoneType";
  if (is_boolean()) return "bool";
  if (is_integer()) return "int";
  if (is_real()) return "float";
  if (is_undefined()) return "Undefined";
  if (is_text()) return "str";
  if (is_dict()) return "dict";
  if (is_object()) return object()->type_name();
  switch (sequence().kind) {
    case SequenceKind::kList:
      return "list";
    case SequenceKind::kTuple:
      return "tuple";
    case SequenceKind::kRange:
      return "range";
    default:
      return sequence().label;
  }
}

int Value::depth() const {
  if (is_sequence()) return sequence().depth;
  if (is_dict()) return dict().depth();
  return is_object() ? object()->depth() : 0;
}

bool Value::same_as(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  return std::visit(
      [&](const auto& mine) {
        using T = std::decay_t<decltype(mine)>;
        if constexpr (std::is_same_v<T, std::shared_ptr<const Text>>) {
          return mine->bytes == other.bytes();  // where a text lies is Python's own affair
        } else {
          return mine == std::get<T>(other.data_);
        }
      },
      data_);
}

Value from_json(const nlohmann::ordered_json& json, const std::string& where) {
  const auto text_of = [&](const std::string& text) {
    LT2_CHECK(count_invalid_utf8(text) == 0, "{}: expected UTF-8, found other bytes", where);
    return Value::text(text);
  };
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::null:
      return {};
    case nlohmann::ordered_json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_unsigned:
      LT2_CHECK(json.get<uint64_t>() <= INT64_MAX, "{}: integers must fit 64 bits with their sign, found {}", where,
                json.get<uint64_t>());
      [[fallthrough]];
    case nlohmann::ordered_json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case nlohmann::ordered_json::value_t::number_float:
      return Value::real(json.get<double>());
    case nlohmann::ordered_json::value_t::string:
      return text_of(json.get_ref<const std::string&>());
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(from_json(item, where));
      return Value::list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, value] : json.items()) dict.set(text_of(key), from_json(value, where));
      return Value::of(std::move(dict));
    }
    default:
      fail("{}: expected a value of JSON, found {}", where, json.type_name());
  }
}

}  // namespace lt2::jinja
