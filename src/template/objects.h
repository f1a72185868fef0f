#pragma once
// The objects of Jinja itself: namespaces, loops, and the functions that every template may call.
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "template/runtime.h"
#include "template/scope.h"
#include "template/value.h"

namespace lt2::jinja {

/// The only values that a template can change.
class Namespace : public Object, public std::enable_shared_from_this<Namespace> {
 public:
  std::string type_name() const override { return "Namespace"; }
  bool attribute(Runtime& run, const std::string& name, Value& out) override;
  std::string repr(Runtime& run, int depth) const override;
  void release() override { members_ = {}; }
  void set(const std::string& name, Value value) { members_.set(Value::text(name), std::move(value)); }

 private:
  Dict members_;
};

/// The variable `loop`: what a for statement takes its items from, one at a time, because the condition of the loop may
/// read what its body has set.
class Loop : public Object, public std::enable_shared_from_this<Loop> {
 public:
  using Filter = std::function<bool(const Value&)>;
  using Recurse = std::function<Value(const Value& items, int depth0)>;
  Loop(std::vector<Value> items, int items_depth, Filter filter, Recurse recurse, int depth0)
      : items_(std::move(items)),
        filter_(std::move(filter)),
        recurse_(std::move(recurse)),
        depth0_(depth0),
        items_depth_(items_depth) {}

  /// Moves to the next item; false at the end.
  bool next(Value& item);
  /// The statement is over: a kept loop object shows what it has given out and gives no more.
  void finish();

  std::string type_name() const override { return "LoopContext"; }
  bool attribute(Runtime& run, const std::string& name, Value& out) override;
  bool callable() const override { return true; }
  Value call(Runtime& run, Arguments& arguments) override;
  std::string repr(Runtime& run, int depth) const override;
  int depth() const override { return items_depth_ + 1; }
  void release() override { last_changed_.reset(); }

 private:
  bool look_ahead();
  int64_t length();
  Value cycle(const Arguments& arguments) const;
  Value changed(Runtime& run, const Arguments& arguments);

  std::vector<Value> items_;
  Filter filter_;
  Recurse recurse_;
  int depth0_, items_depth_;
  size_t taken_ = 0;
  std::deque<Value> ahead_;  // passed the filter, not yet given out
  int64_t index0_ = -1;
  Value current_, before_;
  std::optional<Value> last_changed_;
};

/// range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
void define_functions(Scope& scope);

}  // namespace lt2::jinja
