// The evaluator's half that runs statements.
#include <algorithm>
#include <utility>

#include "template/evaluator.h"
#include "template/operators.h"

namespace lt2::jinja {
class Evaluator::Inside {
 public:
  Inside(Evaluator& run, std::shared_ptr<Scope> scope)
      : run_(run), before_(std::exchange(run.scope_, std::move(scope))) {}
  ~Inside() { run_.scope_ = std::move(before_); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Evaluator& run_;
  std::shared_ptr<Scope> before_;
};

class Evaluator::Capture {
 public:
  explicit Capture(Evaluator& run) : run_(run), before_(std::exchange(run.out_, &text)) {}
  ~Capture() { run_.out_ = before_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  std::string text;

 private:
  Evaluator& run_;
  std::string* before_;
};

// A macro or a call block, with the names around the place where it stands.
class Evaluator::Macro : public Object, public std::enable_shared_from_this<Macro> {
 public:
  Macro(Evaluator& run, const Statement& of, std::shared_ptr<Scope> around)
      : statement(of), scope(std::move(around)), run_(run) {}
  std::string type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  Value call(Runtime&, Arguments& arguments) override { return run_.call_macro(*this, arguments); }
  bool attribute(Runtime&, const std::string& name, Value& out) override {
    if (name == "name") {
      out = statement.signature.name.empty() ? Value() : Value::text(statement.signature.name);
    } else if (name == "arguments") {
      std::vector<Value> names;
      for (const auto& parameter : statement.signature.parameters) names.push_back(Value::text(parameter));
      out = Value::tuple(std::move(names));
    } else if (name == "caller" || name == "catch_kwargs" || name == "catch_varargs") {
      const auto& signature = statement.signature;
      out = Value::boolean(name == "caller"         ? signature.uses_caller
                           : name == "catch_kwargs" ? signature.uses_kwargs
                                                    : signature.uses_varargs);
    } else {
      return false;
    }
    return true;
  }
  std::string repr(Runtime&, int) const override {
    return statement.signature.name.empty() ? "<Macro anonymous>" : "<Macro '" + statement.signature.name + "'>";
  }

  const Statement& statement;
  const std::shared_ptr<Scope> scope;

 private:
  Evaluator& run_;
};

std::shared_ptr<Scope> Evaluator::scope_in(const std::shared_ptr<Scope>& around, const HiddenNames& hidden) {
  auto scope = std::make_shared<Scope>(around);
  for (const auto& [name, value] : hidden) scope->set(name, value);
  return scope;
}

std::string Evaluator::run(const Tree& tree) {
  std::string out;
  out_ = &out;
  scope_ = scope_in(scope_, tree.hidden);
  run(tree.body);
  return out;
}

void Evaluator::print(const std::string& text) {
  check_room(out_->size() + text.size());
  spend_bytes(text.size());
  *out_ += text;
}

Evaluator::Flow Evaluator::run(const Body& body) {
  for (const auto& statement : body)
    if (const Flow flow = run(*statement); flow != Flow::kOn) return flow;
  return Flow::kOn;
}

Evaluator::Flow Evaluator::run(const Statement& statement) {
  if (statement.kind == StatementKind::kText) {
    print(statement.text);
    return Flow::kOn;
  }
  const Level level(depth_, kMostLevels, "the template calls itself and its parts");
  spend(1);
  line_ = statement.line;
  switch (statement.kind) {
    case StatementKind::kPrint:
      for (const auto& value : statement.values) print(text_of(*this, value_of(*value)));
      return Flow::kOn;
    case StatementKind::kIf:
      return run_if(statement);
    case StatementKind::kFor:
      if (!statement.recursive) return run_loop(statement, value_of(*statement.values[0]), 0);
      print(run_recursive(statement, value_of(*statement.values[0]), 0));
      return Flow::kOn;
    case StatementKind::kSet:
      run_set(statement);
      return Flow::kOn;
    case StatementKind::kSetBlock:
      return run_set_block(statement);
    case StatementKind::kMacro:
      scope_->set(statement.signature.name, macro_of(statement));
      return Flow::kOn;
    case StatementKind::kCallBlock:
      run_call_block(statement);
      return Flow::kOn;
    case StatementKind::kFilterBlock:
      return run_filter_block(statement);
    case StatementKind::kWith:
      return run_with(statement);
    case StatementKind::kScope: {
      const Inside inside(*this, scope_in(scope_, statement.hidden));
      return run(statement.body);
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
    default:
      return Flow::kOn;
  }
}

Evaluator::Flow Evaluator::run_if(const Statement& statement) {
  for (const auto& branch : statement.branches)
    if (truth(*this, value_of(*branch.test))) return run(branch.body);
  return run(statement.otherwise);
}

// A recursive loop is a function of its items.
std::string Evaluator::run_recursive(const Statement& statement, const Value& items, int depth0) {
  const Level level(calls_, options.limits.depth, "loops call themselves");
  Capture capture(*this);
  run_loop(statement, items, depth0);
  return std::move(capture.text);
}

Evaluator::Flow Evaluator::run_loop(const Statement& statement, const Value& items, int depth0) {
  const auto around = scope_;
  Loop::Filter filter;
  if (statement.filter)
    filter = [this, &statement, around](const Value& item) {
      const Inside inside(*this, std::make_shared<Scope>(around));
      assign(*statement.targets[0], item);
      return truth(*this, value_of(*statement.filter));
    };
  Loop::Recurse recurse;
  if (statement.recursive)
    recurse = [this, &statement, around](const Value& inner, int depth) {
      const Inside inside(*this, around);
      return text(run_recursive(statement, inner, depth));
    };
  const int depth = items.depth();
  const auto loop =
      std::make_shared<Loop>(items_of(*this, items), depth, std::move(filter), std::move(recurse), depth0);
  const Value loop_value = Value::of(std::shared_ptr<Object>(loop));
  bool complete = false;  // an iteration came to its end: as in jinja2, break in the first one leads to the else
  for (Value item; loop->next(item);) {
    spend(1);
    const Inside inside(*this, scope_in(around, statement.hidden));
    scope_->set("loop", loop_value);
    assign(*statement.targets[0], item);
    const Flow flow = run(statement.body);
    complete = complete || flow == Flow::kOn;
    if (flow == Flow::kBreak) break;
  }
  loop->finish();
  if (complete) return Flow::kOn;
  const Inside inside(*this, scope_in(around, statement.hidden_otherwise));
  return run(statement.otherwise);
}

Evaluator::Flow Evaluator::run_filter_block(const Statement& statement) {
  const Inside inside(*this, scope_in(scope_, statement.hidden));
  std::string text;
  {
    Capture capture(*this);
    if (const Flow flow = run(statement.body); flow != Flow::kOn) return flow;
    text = std::move(capture.text);
  }
  const Value filtered_text = filter_chain(*statement.filter, Value::text(std::move(text)));
  LT2_CHECK(filtered_text.is_text(), "the filter of a block must give a text, found {}", filtered_text.type_name());
  print(filtered_text.bytes());
  return Flow::kOn;
}

Evaluator::Flow Evaluator::run_set_block(const Statement& statement) {
  Value value;
  {
    const Inside inside(*this, scope_in(scope_, statement.hidden));
    std::string text;
    {
      Capture capture(*this);
      if (const Flow flow = run(statement.body); flow != Flow::kOn) return flow;
      text = std::move(capture.text);
    }
    value = Value::text(std::move(text));
    if (statement.filter) value = filter_chain(*statement.filter, value);
  }
  check_namespaces(*statement.targets[0]);
  assign(*statement.targets[0], value);
  return Flow::kOn;
}

// A filter whose innermost input is the text of a block.
Value Evaluator::filter_chain(const Expression& filter, const Value& input) {
  const Value inner = filter.parts[0] ? filter_chain(*filter.parts[0], input) : input;
  return filtered(filter, inner);
}

Evaluator::Flow Evaluator::run_with(const Statement& statement) {
  std::vector<Value> values;
  for (const auto& value : statement.values) values.push_back(value_of(*value));
  const Inside inside(*this, scope_in(scope_, statement.hidden));
  for (size_t i = 0; i < values.size(); ++i) assign(*statement.targets[i], values[i]);
  return run(statement.body);
}

void Evaluator::run_set(const Statement& statement) {
  check_namespaces(*statement.targets[0]);
  assign(*statement.targets[0], value_of(*statement.values[0]));
}

void Evaluator::check_namespaces(const Expression& target) {
  for (const auto& part : target.parts) check_namespaces(*part);
  if (target.kind != ExpressionKind::kNamespaceName) return;
  const Value* of = scope_->find(*this, target.name);
  LT2_CHECK(of && of->is_object() && of->type_name() == "Namespace",
            "cannot assign attribute on non-namespace object: {} is {}", target.name,
            of ? of->type_name() : "undefined");
}

void Evaluator::assign(const Expression& target, const Value& value) {
  if (target.kind == ExpressionKind::kName) return scope_->set(target.name, value);
  if (target.kind == ExpressionKind::kNamespaceName) {
    const Value of = *scope_->find(*this, target.name);
    return static_cast<Namespace&>(*of.object()).set(target.attribute, value);
  }
  const auto items = items_of(*this, value);
  LT2_CHECK(items.size() == target.parts.size(), "cannot unpack: expected {} values, found {}", target.parts.size(),
            items.size());
  for (size_t i = 0; i < items.size(); ++i) assign(*target.parts[i], items[i]);
}

Value Evaluator::macro_of(const Statement& statement) {
  if (scope_->keeps()) keep(scope_);  // it is about to hold what holds it
  return Value::of(std::shared_ptr<Object>(std::make_shared<Macro>(*this, statement, scope_)));
}

void Evaluator::run_call_block(const Statement& statement) {
  const Value caller = macro_of(statement);
  print(text_of(*this, call(*statement.values[0], &caller)));
}

Value Evaluator::call_macro(const Macro& macro, const Arguments& arguments) {
  const Level level(calls_, options.limits.depth, "macros call each other");
  const Inside inside(*this, scope_in(macro.scope, macro.statement.hidden));
  bind(macro, arguments);
  Capture capture(*this);
  run(macro.statement.body);
  return text(std::move(capture.text));
}

// Puts the arguments under the names of the parameters.
void Evaluator::bind(const Macro& macro, const Arguments& arguments) {
  const Signature& signature = macro.statement.signature;
  const auto& parameters = signature.parameters;
  std::vector<std::optional<Value>> values(parameters.size());
  Dict others;
  std::optional<Value> caller;
  const size_t taken = std::min(arguments.positional.size(), parameters.size());
  for (size_t i = 0; i < taken; ++i) values[i] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto i = static_cast<size_t>(std::find(parameters.begin(), parameters.end(), name) - parameters.begin());
    if (i < parameters.size() && !values[i]) {
      values[i] = value;
    } else if (i == parameters.size() && name == "caller" && signature.uses_caller) {
      caller = value;
    } else {
      LT2_CHECK(signature.uses_kwargs, "macro '{}' takes no keyword argument '{}'", signature.name, name);
      others.set(Value::text(name), value);
    }
  }
  LT2_CHECK(signature.uses_varargs || taken == arguments.positional.size(),
            "macro '{}' takes not more than {} arguments, found {}", signature.name, parameters.size(),
            arguments.positional.size());
  const bool own_caller = std::find(parameters.begin(), parameters.end(), "caller") != parameters.end();
  if (signature.uses_caller && !own_caller)
    scope_->set("caller", caller ? *caller : Value::undefined("No caller defined"));
  if (signature.uses_kwargs) scope_->set("kwargs", Value::of(std::move(others)));
  if (signature.uses_varargs)
    scope_->set("varargs", Value::tuple({arguments.positional.begin() + static_cast<ptrdiff_t>(taken),
                                         arguments.positional.end()}));
  // A default may use the parameters in front of it.
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!values[i] && signature.defaults[i]) values[i] = value_of(*signature.defaults[i]);
    scope_->set(parameters[i],
                values[i] ? *values[i] : Value::undefined("parameter '" + parameters[i] + "' was not provided"));
  }
}

}  // namespace lt2::jinja
