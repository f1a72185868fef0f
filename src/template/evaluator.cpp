#include "template/evaluator.h"

#include <utility>

#include "template/filters.h"
#include "template/operators.h"
#include "template/value_tests.h"

namespace lt2::jinja {
Evaluator::Evaluator(const TemplateOptions& with) : Runtime(with), scope_(std::make_shared<Scope>(nullptr)) {
  define_functions(*scope_);
  scope_ = std::make_shared<Scope>(scope_);
}

Value Evaluator::value_of(const Expression& expression) {
  if (expression.kind == ExpressionKind::kConstant) return expression.constant;
  const Level level(depth_, kMostLevels, "the template calls itself and its parts");
  spend(1);
  line_ = expression.line;
  return by_kind(expression);
}

Value Evaluator::by_kind(const Expression& expression) {
  const auto part = [&](size_t i) {
    Value value = value_of(*expression.parts[i]);
    line_ = expression.line;
    return value;
  };
  switch (expression.kind) {
    case ExpressionKind::kName:
      return name(expression);
    case ExpressionKind::kAttribute:
      return attribute(*this, part(0), expression.name);
    case ExpressionKind::kItem: {
      const Value of = part(0);
      return item(*this, of, part(1));
    }
    case ExpressionKind::kSlice: {
      const Value of = part(0);
      Value bounds[3];
      for (size_t i = 0; i < 3; ++i)
        if (expression.parts[i + 1]) bounds[i] = part(i + 1);
      return slice(*this, of, bounds[0], bounds[1], bounds[2]);
    }
    case ExpressionKind::kCall:
      return call(expression);
    case ExpressionKind::kFilter:
      return filtered(expression, part(0));
    case ExpressionKind::kTest: {
      const Value of = part(0);
      const Arguments arguments = arguments_of(expression);
      return Value::boolean(apply_test(*this, expression.name, of, arguments));
    }
    case ExpressionKind::kNot:
      return Value::boolean(!truth(*this, part(0)));
    case ExpressionKind::kNegative:
      return negative(part(0));
    case ExpressionKind::kPositive:
      return positive(part(0));
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr: {
      Value left = part(0);
      return truth(*this, left) == (expression.kind == ExpressionKind::kOr) ? left : part(1);
    }
    case ExpressionKind::kCompare:
      return comparison(expression);
    case ExpressionKind::kArithmetic: {
      const Value left = part(0), right = part(1);
      return arithmetic(*this, expression.name, left, right);
    }
    case ExpressionKind::kConcat:
      return concatenation(expression);
    case ExpressionKind::kConditional:
      if (truth(*this, part(0))) return part(1);
      if (expression.parts[2]) return part(2);
      return Value::undefined("the condition is false and there is no else", /*lenient=*/true);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple:
      return list(expression);
    case ExpressionKind::kDict:
      return dict(expression);
    default:
      return expression.constant;
  }
}

Value Evaluator::name(const Expression& expression) {
  const Value* there = scope_->find(*this, expression.name);
  return there ? *there : Value::undefined("'" + expression.name + "' is undefined");
}

Value Evaluator::comparison(const Expression& expression) {
  Value left = value_of(*expression.parts[0]);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = value_of(*expression.parts[i + 1]);
    line_ = expression.line;
    if (!compare(*this, expression.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Evaluator::concatenation(const Expression& expression) {
  std::string out;
  std::vector<Value> values;
  for (const auto& one : expression.parts) values.push_back(value_of(*one));
  line_ = expression.line;
  for (const auto& value : values) {
    out += text_of(*this, value);
    check_room(out.size());
  }
  return text(std::move(out));
}

Value Evaluator::filtered(const Expression& expression, const Value& input) {
  const Arguments arguments = arguments_of(expression);
  line_ = expression.line;
  return apply_filter(*this, expression.name, input, arguments);
}

Value Evaluator::list(const Expression& expression) {
  std::vector<Value> items;
  items.reserve(expression.parts.size());
  for (const auto& one : expression.parts) items.push_back(value_of(*one));
  return expression.kind == ExpressionKind::kList ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value Evaluator::dict(const Expression& expression) {
  Dict members;
  for (size_t i = 0; i < expression.parts.size(); i += 2) {
    const Value key = value_of(*expression.parts[i]);
    check_defined(*this, key);
    spend_lookup(*this, members, key);
    members.set(key, value_of(*expression.parts[i + 1]));
  }
  return Value::of(std::move(members));
}

Arguments Evaluator::arguments_of(const Expression& expression) {
  Arguments arguments;
  const auto add = [&](const std::string& name, Value value) {
    for (const auto& [known, unused] : arguments.named)
      LT2_CHECK(known != name, "got multiple values for the argument '{}'", name);
    arguments.named.emplace_back(name, std::move(value));
  };
  for (const auto& argument : expression.arguments) {
    Value value = value_of(*argument.value);
    switch (argument.kind) {
      case ArgumentKind::kPositional:
        arguments.positional.push_back(std::move(value));
        break;
      case ArgumentKind::kNamed:
        add(argument.name, std::move(value));
        break;
      case ArgumentKind::kItems:
        for (auto& item : items_of(*this, value)) arguments.positional.push_back(std::move(item));
        break;
      case ArgumentKind::kMembers:
        LT2_CHECK(value.is_dict(), "the argument after ** must be a dict, found {}", value.type_name());
        for (const auto& [key, member] : value.dict().items()) {
          LT2_CHECK(key.is_text(), "keywords must be strings, found {}", key.type_name());
          spend(static_cast<int64_t>(arguments.named.size()));
          add(key.bytes(), member);
        }
    }
  }
  return arguments;
}

Value Evaluator::call(const Expression& expression, const Value* caller) {
  const Value callee = value_of(*expression.parts[0]);
  Arguments arguments = arguments_of(expression);
  if (caller) arguments.named.emplace_back("caller", *caller);
  line_ = expression.line;
  return call(callee, arguments);
}

Value Evaluator::call(const Value& callee, Arguments& arguments) {
  if (callee.is_undefined()) refuse_undefined(callee);
  LT2_CHECK(callee.is_object() && callee.object()->callable(), "'{}' object is not callable", callee.type_name());
  spend(1);
  return callee.object()->call(*this, arguments);
}

}  // namespace lt2::jinja
