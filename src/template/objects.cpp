#include "template/objects.h"

#include "template/format.h"
#include "template/function.h"
#include "template/operators.h"
#include "template/parameters.h"

namespace lt2::jinja {
namespace {

std::shared_ptr<Object> object(std::shared_ptr<Object> one) { return one; }

// Hands out its items one after the other, from the first again after the last.
class Cycler : public Object, public std::enable_shared_from_this<Cycler> {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {
    for (const auto& item : items_) depth_ = std::max(depth_, item.depth() + 1);
  }
  std::string type_name() const override { return "Cycler"; }
  int depth() const override { return depth_; }
  bool attribute(Runtime&, const std::string& name, Value& out) override {
    if (name == "current") {
      out = items_[at_];
    } else if (name == "next" || name == "reset") {
      const bool forward = name == "next";
      out = Function::make(
          name,
          [self = shared_from_this(), forward](Runtime&, const Arguments& arguments) {
            const Parameters given(forward ? "next()" : "reset()", arguments, {});
            const Value current = self->items_[self->at_];
            self->at_ = forward ? (self->at_ + 1) % self->items_.size() : 0;
            return forward ? current : Value();
          },
          depth_);
    } else {
      return false;
    }
    return true;
  }

 private:
  std::vector<Value> items_;
  size_t at_ = 0;
  int depth_ = 1;
};

// Nothing at first, its separator from then on.
class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  int depth() const override { return separator_.depth() + 1; }
  Value call(Runtime&, Arguments& arguments) override {
    const Parameters given("a joiner", arguments, {});
    if (std::exchange(used_, true)) return separator_;
    return Value::text("");
  }

 private:
  Value separator_;
  bool used_ = false;
};

Value range(Runtime& run, const Arguments& arguments) {
  const Parameters given("range()", arguments, {"start", "stop", "step"}, 1);
  Range bounds;
  bounds.start = given.has(1) ? given.integer(0) : 0;
  bounds.stop = given.has(1) ? given.integer(1) : given.integer(0);
  bounds.step = given.integer(2, 1);
  LT2_CHECK(bounds.step != 0, "range() arg 3 must not be zero");
  const int64_t most = run.options.limits.range_items;
  std::vector<Value> items;
  for (int64_t at = bounds.start; bounds.step > 0 ? at < bounds.stop : at > bounds.stop;) {
    LT2_CHECK(static_cast<int64_t>(items.size()) < most, "range({}, {}, {}) has more than {} items", bounds.start,
              bounds.stop, bounds.step, most);
    run.spend(1);
    items.push_back(Value::integer(at));
    if (__builtin_add_overflow(at, bounds.step, &at)) break;
  }
  Sequence out(SequenceKind::kRange, std::move(items));
  out.range = bounds;
  return Value::of(std::move(out));
}

// dict() and namespace(): members of a dict or pairs, then named ones.
Dict members_of(Runtime& run, const char* what, const Arguments& arguments) {
  LT2_CHECK(arguments.positional.size() <= 1, "{} takes at most one argument without a name", what);
  Dict members;
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is_undefined()) refuse_undefined(from);
    if (from.is_dict()) {
      members = from.dict();
      run.spend(static_cast<int64_t>(members.size()));
    } else {
      for (const auto& pair : items_of(run, from)) {
        const auto both = items_of(run, pair);
        LT2_CHECK(both.size() == 2, "{} wants pairs, found {} items", what, both.size());
        spend_lookup(run, members, both[0]);
        members.set(both[0], both[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) members.set(Value::text(name), value);
  return members;
}

Value make_namespace(Runtime& run, const Arguments& arguments) {
  auto made = std::make_shared<Namespace>();
  run.keep(made);
  const Dict members = members_of(run, "namespace()", arguments);
  for (const auto& [name, value] : members.items())
    if (name.is_text()) made->set(name.bytes(), value);
  return Value::of(object(made));
}

Value raise_exception(Runtime& run, const Arguments& arguments) {
  const Parameters given("raise_exception()", arguments, {"message"}, 1);
  fail("raised by the template: {}", text_of(run, given[0]));
}

}  // namespace

bool Namespace::attribute(Runtime&, const std::string& name, Value& out) {
  const Value* there = name.starts_with('_') ? nullptr : members_.find(name);
  if (there) out = *there;
  return there != nullptr;
}

std::string Namespace::repr(Runtime& run, int depth) const {
  return "<Namespace " + repr_of(run, Value::of(members_), depth + 1) + ">";
}

bool Loop::look_ahead() {
  while (taken_ < items_.size()) {
    Value item = items_[taken_++];
    if (filter_ && !filter_(item)) continue;
    ahead_.push_back(std::move(item));
    return true;
  }
  return false;
}

bool Loop::next(Value& item) {
  if (ahead_.empty() && !look_ahead()) return false;
  item = ahead_.front();
  ahead_.pop_front();
  ++index0_;
  before_ = std::exchange(current_, item);
  return true;
}

void Loop::finish() {
  items_.resize(taken_);
  filter_ = nullptr;
  recurse_ = nullptr;
}

int64_t Loop::length() {
  if (!filter_) return static_cast<int64_t>(items_.size());
  while (look_ahead()) {
  }
  return index0_ + 1 + static_cast<int64_t>(ahead_.size());
}

Value Loop::cycle(const Arguments& arguments) const {
  LT2_CHECK(!arguments.positional.empty() && arguments.named.empty(), "no items for cycling given");
  return arguments.positional[static_cast<size_t>(index0_) % arguments.positional.size()];
}

Value Loop::changed(Runtime& run, const Arguments& arguments) {
  Value now = Value::tuple(arguments.positional);
  if (!last_changed_) run.keep(shared_from_this());
  const bool differs = !last_changed_ || !equal(run, *last_changed_, now);
  if (differs) last_changed_ = std::move(now);
  return Value::boolean(differs);
}

bool Loop::attribute(Runtime&, const std::string& name, Value& out) {
  const bool more = (name == "last" || name == "nextitem") && (!ahead_.empty() || look_ahead());
  if (name == "index")
    out = Value::integer(index0_ + 1);
  else if (name == "index0")
    out = Value::integer(index0_);
  else if (name == "revindex")
    out = Value::integer(length() - index0_);
  else if (name == "revindex0")
    out = Value::integer(length() - index0_ - 1);
  else if (name == "length")
    out = Value::integer(length());
  else if (name == "first")
    out = Value::boolean(index0_ == 0);
  else if (name == "last")
    out = Value::boolean(!more);
  else if (name == "depth")
    out = Value::integer(depth0_ + 1);
  else if (name == "depth0")
    out = Value::integer(depth0_);
  else if (name == "previtem")
    out = index0_ == 0 ? Value::undefined("there is no previous item") : before_;
  else if (name == "nextitem")
    out = more ? ahead_.front() : Value::undefined("there is no next item");
  else if (name == "cycle" || name == "changed")
    out = Function::make(
        name,
        [self = shared_from_this(), cycles = name == "cycle"](Runtime& run, const Arguments& arguments) {
          return cycles ? self->cycle(arguments) : self->changed(run, arguments);
        },
        depth());
  else
    return false;
  return true;
}

Value Loop::call(Runtime&, Arguments& arguments) {
  LT2_CHECK(recurse_, "The loop must have the 'recursive' marker to be called recursively.");
  const Parameters given("loop()", arguments, {"iterable"}, 1);
  return recurse_(given[0], depth0_ + 1);
}

std::string Loop::repr(Runtime&, int) const {
  // The length is only known without a condition.
  LT2_CHECK(!filter_, "a loop with a condition has no text");
  return fmt::format("<LoopContext {}/{}>", index0_ + 1, items_.size());
}

void define_functions(Scope& scope) {
  scope.set("range", Function::make("range", range));
  scope.set("namespace", Function::make("namespace", make_namespace));
  scope.set("dict", Function::make("dict", [](Runtime& run, const Arguments& arguments) {
              return Value::of(members_of(run, "dict()", arguments));
            }));
  scope.set("cycler", Function::make("cycler", [](Runtime&, const Arguments& arguments) {
              LT2_CHECK(!arguments.positional.empty(), "at least one item has to be provided");
              return Value::of(object(std::make_shared<Cycler>(arguments.positional)));
            }));
  scope.set("joiner", Function::make("joiner", [](Runtime&, const Arguments& arguments) {
              const Parameters given("joiner()", arguments, {"sep"});
              return Value::of(object(std::make_shared<Joiner>(given.has(0) ? given[0] : Value::text(", "))));
            }));
  scope.set("raise_exception", Function::make("raise_exception", raise_exception));
  scope.set("strftime_now", Function::make("strftime_now", [](Runtime& run, const Arguments& arguments) {
              const Parameters given("strftime_now()", arguments, {"format"}, 1);
              return run.text(format_time(run, given.text(0)));
            }));
}

}  // namespace lt2::jinja
