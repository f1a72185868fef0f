#pragma once
// Values of a running template: what Python's objects are to Jinja.
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace lt2::jinja {

class Value;
class Runtime;
struct Arguments;

/// A text and its number of code points, which Python calls its length.
struct Text {
  explicit Text(std::string utf8);
  bool ascii() const { return length == static_cast<int64_t>(bytes.size()); }
  std::string bytes;
  int64_t length = 0;
};

/// What a name without a value stands for: the message of the error that most uses of it end in.
struct Undefined {
  std::string message;
  bool lenient = false;  // what a condition without else gives: no error even where undefined values are
};

enum class SequenceKind { kList, kTuple, kRange, kView, kIterator };

struct Range {
  int64_t start = 0, stop = 0, step = 1;
};

/// What has items one after the other. Only an iterator changes: what was taken from it is gone.
struct Sequence {
  Sequence(SequenceKind kind, std::vector<Value> items);
  SequenceKind kind = SequenceKind::kList;
  std::vector<Value> items;
  int depth = 1;           // of values inside values
  const char* label = "";  // of views: dict_items; of iterators: generator
  Range range;             // of ranges
  bool group = false;      // a tuple of groupby: its items are also .grouper and .list
};

/// A dict in the order its keys came.
class Dict {
 public:
  /// A key again replaces the value at its old place. The key must be hashable.
  void set(const Value& key, Value value);
  /// Null if there is none.
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;
  const std::vector<std::pair<Value, Value>>& items() const { return items_; }
  bool has(const Value& key) const { return find(key) != nullptr; }
  size_t size() const { return items_.size(); }
  int depth() const { return depth_; }

 private:
  size_t place_of(std::string_view key) const;
  size_t place_of(const Value& key) const;
  std::vector<std::pair<Value, Value>> items_;
  std::unordered_map<std::string_view, size_t> places_;  // of keys that are texts, once there are more than a few
  int depth_ = 1;
};

/// What has behaviour: macros, functions, namespaces, loops.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  /// Sets `out` and returns true if there is an attribute of that name.
  virtual bool attribute(Runtime& run, const std::string& name, Value& out);
  virtual bool callable() const { return false; }
  virtual Value call(Runtime& run, Arguments& arguments);
  virtual std::string repr(Runtime& run, int depth) const;
  virtual int depth() const { return 1; }
  /// Releases all values, because they may refer back to this one.
  virtual void release() {}
};

class Value {
 public:
  Value() = default;  // None
  static Value boolean(bool value) { return Value(value); }
  static Value integer(int64_t value) { return Value(value); }
  static Value real(double value) { return Value(value); }
  /// Without limits: for what is no longer than texts that there are. Runtime::text() checks.
  static Value text(std::string utf8) { return Value(std::make_shared<const Text>(std::move(utf8))); }
  static Value undefined(std::string message, bool lenient = false) {
    return Value(std::make_shared<const Undefined>(Undefined{std::move(message), lenient}));
  }
  static Value list(std::vector<Value> items) { return sequence(SequenceKind::kList, std::move(items)); }
  static Value tuple(std::vector<Value> items) { return sequence(SequenceKind::kTuple, std::move(items)); }
  static Value iterator(std::vector<Value> items) { return sequence(SequenceKind::kIterator, std::move(items)); }
  static Value sequence(SequenceKind kind, std::vector<Value> items) { return of(Sequence(kind, std::move(items))); }
  static Value of(Sequence sequence) { return Value(std::make_shared<Sequence>(std::move(sequence))); }
  static Value of(Dict dict) { return Value(std::make_shared<const Dict>(std::move(dict))); }
  static Value of(std::shared_ptr<Object> object) { return Value(std::move(object)); }

  bool is_none() const { return holds<std::monostate>(); }
  bool is_boolean() const { return holds<bool>(); }
  bool is_integer() const { return holds<int64_t>() || holds<bool>(); }  // Python's bool is an int
  bool is_real() const { return holds<double>(); }
  bool is_number() const { return is_integer() || is_real(); }
  bool is_undefined() const { return holds<std::shared_ptr<const Undefined>>(); }
  bool is_text() const { return holds<std::shared_ptr<const Text>>(); }
  bool is_sequence() const { return holds<std::shared_ptr<Sequence>>(); }
  bool is_sequence(SequenceKind kind) const { return is_sequence() && sequence().kind == kind; }
  bool is_dict() const { return holds<std::shared_ptr<const Dict>>(); }
  bool is_object() const { return holds<std::shared_ptr<Object>>(); }

  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const { return is_boolean() ? int64_t{boolean()} : std::get<int64_t>(data_); }
  double real() const { return is_real() ? std::get<double>(data_) : static_cast<double>(integer()); }
  const Undefined& undefined() const { return *std::get<std::shared_ptr<const Undefined>>(data_); }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const std::string& bytes() const { return text().bytes; }
  Sequence& sequence() const { return *std::get<std::shared_ptr<Sequence>>(data_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  const std::shared_ptr<Object>& object() const { return std::get<std::shared_ptr<Object>>(data_); }

  /// Python's name of the type, as its errors say it.
  std::string type_name() const;
  /// Of values inside values; 0 for what holds none.
  int depth() const;
  /// Python's `is`: the same place for what lies somewhere, the same value for None and booleans.
  bool same_as(const Value& other) const;

 private:
  using Data =
      std::variant<std::monostate, bool, int64_t, double, std::shared_ptr<const Undefined>, std::shared_ptr<const Text>,
                   std::shared_ptr<Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>;
  template <typename T>
  explicit Value(T data) : data_(std::move(data)) {}
  template <typename T>
  bool holds() const {
    return std::holds_alternative<T>(data_);
  }
  Data data_;
};

/// The arguments of a call, a filter or a test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// A value of JSON. `where` names it in errors.
Value from_json(const nlohmann::ordered_json& json, const std::string& where);

/// Values may lie in each other this deep; what walks through them recurses.
constexpr int kMaxValueDepth = 200;

}  // namespace lt2::jinja
