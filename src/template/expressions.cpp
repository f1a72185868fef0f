// The parser's half that reads expressions: one function a precedence, from the loosest to the tightest.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "template/filters.h"
#include "template/parser.h"
#include "template/parser_levels.h"
#include "template/value_tests.h"

namespace lt2::jinja {
namespace {

template <typename... Parts>
std::vector<ExpressionPtr> parts_of(Parts... parts) {
  std::vector<ExpressionPtr> out;
  (out.push_back(std::move(parts)), ...);
  return out;
}

}  // namespace

ExpressionPtr Parser::make(ExpressionKind kind, int line, std::vector<ExpressionPtr> parts) {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->line = line;
  expression->parts = std::move(parts);
  check_depth(*expression);
  return expression;
}

// Chains such as a + b + c make deep trees without nested syntax.
void Parser::check_depth(Expression& expression) const {
  for (const auto& part : expression.parts)
    if (part) expression.depth = std::max(expression.depth, part->depth + 1);
  for (const auto& argument : expression.arguments)
    expression.depth = std::max(expression.depth, argument.value->depth + 1);
  if (expression.depth > limit_)
    refuse(expression.line, fmt::format("an expression of more than the {} levels it may have", limit_));
}

ExpressionPtr Parser::expression(bool with_conditional) { return with_conditional ? conditional() : disjunction(); }

bool Parser::ends_tuple() const {
  return now().kind == TokenKind::kPrintEnd || now().kind == TokenKind::kBlockEnd || now().is_sign(")");
}

// Expressions with commas between them are a tuple, one without a comma is itself.
ExpressionPtr Parser::tuple(bool with_conditional, bool in_parentheses) {
  const int line = now().line;
  std::vector<ExpressionPtr> items;
  bool many = false;
  while (true) {
    if (!items.empty()) expect_sign(",");
    if (ends_tuple()) break;
    items.push_back(expression(with_conditional));
    if (!now().is_sign(",")) break;
    many = true;
  }
  if (!many && !items.empty()) return std::move(items[0]);
  if (!many && !in_parentheses) expected("an expression");
  return make(ExpressionKind::kTuple, line, std::move(items));
}

ExpressionPtr Parser::conditional() {
  const Nested level(*this);
  const int line = now().line;
  const size_t known = unknown_.size();
  auto value = disjunction();
  while (skip_name("if")) {
    auto test = disjunction();
    auto otherwise = skip_name("else") ? conditional() : nullptr;
    value = make(ExpressionKind::kConditional, line, parts_of(std::move(test), std::move(value), std::move(otherwise)));
    unknown_.resize(known);
  }
  return value;
}

ExpressionPtr Parser::disjunction() {
  auto left = conjunction();
  while (now().is_name("or")) {
    const int line = take().line;
    auto right = conjunction();
    left = make(ExpressionKind::kOr, line, parts_of(std::move(left), std::move(right)));
  }
  return left;
}

ExpressionPtr Parser::conjunction() {
  auto left = negation();
  while (now().is_name("and")) {
    const int line = take().line;
    auto right = negation();
    left = make(ExpressionKind::kAnd, line, parts_of(std::move(left), std::move(right)));
  }
  return left;
}

ExpressionPtr Parser::negation() {
  if (!now().is_name("not")) return comparison();
  const Nested level(*this);
  const int line = take().line;
  return make(ExpressionKind::kNot, line, parts_of(negation()));
}

ExpressionPtr Parser::comparison() {
  const int line = now().line;
  auto first = sum();
  std::vector<ExpressionPtr> parts;
  std::vector<std::string> operators;
  while (true) {
    if (now().kind == TokenKind::kSign && (now().text == "==" || now().text == "!=" || now().text == "<" ||
                                           now().text == "<=" || now().text == ">" || now().text == ">=")) {
      operators.push_back(take().text);
    } else if (skip_name("in")) {
      operators.emplace_back("in");
    } else if (now().is_name("not") && ahead().is_name("in")) {
      take();
      take();
      operators.emplace_back("not in");
    } else {
      break;
    }
    parts.push_back(sum());
  }
  if (operators.empty()) return first;
  parts.insert(parts.begin(), std::move(first));
  auto chain = make(ExpressionKind::kCompare, line, std::move(parts));
  chain->operators = std::move(operators);
  return chain;
}

ExpressionPtr Parser::sum() {
  auto left = concatenation();
  while (now().is_sign("+") || now().is_sign("-")) {
    const Token sign = take();
    auto right = concatenation();
    left = make(ExpressionKind::kArithmetic, sign.line, parts_of(std::move(left), std::move(right)));
    left->name = sign.text;
  }
  return left;
}

ExpressionPtr Parser::concatenation() {
  const int line = now().line;
  auto parts = parts_of(product());
  while (skip_sign("~")) parts.push_back(product());
  return parts.size() == 1 ? std::move(parts[0]) : make(ExpressionKind::kConcat, line, std::move(parts));
}

ExpressionPtr Parser::product() {
  auto left = power();
  while (now().is_sign("*") || now().is_sign("/") || now().is_sign("//") || now().is_sign("%")) {
    const Token sign = take();
    auto right = power();
    left = make(ExpressionKind::kArithmetic, sign.line, parts_of(std::move(left), std::move(right)));
    left->name = sign.text;
  }
  return left;
}

// From the left, against Python: 2**3**2 is 64 in Jinja.
ExpressionPtr Parser::power() {
  auto left = unary();
  while (now().is_sign("**")) {
    const Token sign = take();
    auto right = unary();
    left = make(ExpressionKind::kArithmetic, sign.line, parts_of(std::move(left), std::move(right)));
    left->name = sign.text;
  }
  return left;
}

ExpressionPtr Parser::unary(bool with_filters) {
  const Nested level(*this);
  ExpressionPtr value;
  if (now().is_sign("-") || now().is_sign("+")) {
    const Token sign = take();
    auto operand = unary(false);
    value = make(sign.text == "-" ? ExpressionKind::kNegative : ExpressionKind::kPositive, sign.line,
                 parts_of(std::move(operand)));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr Parser::name_or_constant() {
  const Token token = take();
  auto value = make(ExpressionKind::kConstant, token.line);
  if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
    value->constant = Value::boolean(token.text[0] == 't' || token.text[0] == 'T');
  } else if (token.text != "none" && token.text != "None") {
    value->kind = ExpressionKind::kName;
    value->name = token.text;
    for (Signature* macro : macros_) {
      macro->uses_caller = macro->uses_caller || token.text == "caller";
      macro->uses_kwargs = macro->uses_kwargs || token.text == "kwargs";
      macro->uses_varargs = macro->uses_varargs || token.text == "varargs";
    }
  }
  return value;
}

ExpressionPtr Parser::primary() {
  const Nested level(*this);
  const int line = now().line;
  auto value = make(ExpressionKind::kConstant, line);
  switch (now().kind) {
    case TokenKind::kName:
      return name_or_constant();
    case TokenKind::kText: {
      std::string text;
      while (now().kind == TokenKind::kText) text += take().text;
      value->constant = Value::text(std::move(text));
      return value;
    }
    case TokenKind::kInteger:
      value->constant = Value::integer(take().integer);
      return value;
    case TokenKind::kReal:
      value->constant = Value::real(take().real);
      return value;
    default:
      break;
  }
  if (now().is_sign("[")) return list();
  if (now().is_sign("{")) return dict();
  if (!skip_sign("(")) expected("an expression");
  value = tuple(true, /*in_parentheses=*/true);
  expect_sign(")");
  return value;
}

ExpressionPtr Parser::list() {
  const int line = take().line;
  std::vector<ExpressionPtr> items;
  while (!now().is_sign("]")) {
    if (!items.empty()) expect_sign(",");
    if (now().is_sign("]")) break;
    items.push_back(expression());
  }
  expect_sign("]");
  return make(ExpressionKind::kList, line, std::move(items));
}

ExpressionPtr Parser::dict() {
  const int line = take().line;
  std::vector<ExpressionPtr> items;
  while (!now().is_sign("}")) {
    if (!items.empty()) expect_sign(",");
    if (now().is_sign("}")) break;
    items.push_back(expression());
    expect_sign(":");
    items.push_back(expression());
  }
  expect_sign("}");
  return make(ExpressionKind::kDict, line, std::move(items));
}

ExpressionPtr Parser::postfix(ExpressionPtr of) {
  while (true) {
    if (now().is_sign(".") || now().is_sign("[")) {
      of = subscript(std::move(of));
    } else if (now().is_sign("(")) {
      of = call(std::move(of));
    } else {
      return of;
    }
  }
}

ExpressionPtr Parser::subscript(ExpressionPtr of) {
  const Token sign = take();
  if (sign.text == "[") return slice_or_item(std::move(of));
  if (now().kind == TokenKind::kInteger) {
    auto index = make(ExpressionKind::kConstant, now().line);
    index->constant = Value::integer(take().integer);
    return make(ExpressionKind::kItem, sign.line, parts_of(std::move(of), std::move(index)));
  }
  const std::string name = expect_name("a name or a number after '.'").text;
  auto value = make(ExpressionKind::kAttribute, sign.line, parts_of(std::move(of)));
  value->name = name;
  return value;
}

ExpressionPtr Parser::slice_or_item(ExpressionPtr of) {
  const int line = now().line;
  std::vector<ExpressionPtr> items, bounds;
  bool comma = false, slice = false;
  while (!now().is_sign("]")) {
    if (!items.empty() || slice) {
      expect_sign(",");
      comma = true;
    }
    ExpressionPtr first = now().is_sign(":") ? nullptr : expression();
    if (!now().is_sign(":")) {
      items.push_back(std::move(first));
      continue;
    }
    slice = true;
    bounds = parts_of(std::move(first));
    while (bounds.size() < 3 && skip_sign(":"))
      bounds.push_back(now().is_sign(":") || now().is_sign("]") || now().is_sign(",") ? nullptr : expression());
    bounds.resize(3);
  }
  expect_sign("]");
  if (slice && comma) refuse(line, "a slice next to other indices is not in the subset");
  if (slice) {
    bounds.insert(bounds.begin(), std::move(of));
    return make(ExpressionKind::kSlice, line, std::move(bounds));
  }
  auto index = items.size() == 1 ? std::move(items[0]) : make(ExpressionKind::kTuple, line, std::move(items));
  return make(ExpressionKind::kItem, line, parts_of(std::move(of), std::move(index)));
}

ExpressionPtr Parser::filters_and_tests(ExpressionPtr of) {
  while (true) {
    if (now().is_sign("|")) {
      of = filter(std::move(of));
    } else if (now().is_name("is")) {
      of = test(std::move(of));
    } else if (now().is_sign("(")) {
      of = call(std::move(of));
    } else {
      return of;
    }
  }
}

// All filters that follow each other. `of` is null where a block's text goes in.
ExpressionPtr Parser::filter(ExpressionPtr of, bool inline_start) {
  while (inline_start || skip_sign("|")) {
    inline_start = false;
    const Token name = expect_name("the name of a filter");
    auto filter = make(ExpressionKind::kFilter, name.line, parts_of(std::move(of)));
    filter->name = name.text;
    while (skip_sign(".")) filter->name += "." + expect_name("the name of a filter").text;
    if (now().is_sign("(")) filter->arguments = call_arguments();
    check_depth(*filter);
    if (conditions_ == 0 && !has_filter(filter->name)) unknown_.emplace_back(name.line, no_filter(filter->name));
    of = std::move(filter);
  }
  return of;
}

ExpressionPtr Parser::test(ExpressionPtr of) {
  const Nested level(*this);
  const int line = take().line;
  const bool negated = skip_name("not");
  std::string name = expect_name("the name of a test").text;
  while (skip_sign(".")) name += "." + expect_name("the name of a test").text;
  auto test = make(ExpressionKind::kTest, line, parts_of(std::move(of)));
  const bool value_follows = now().kind == TokenKind::kName || now().kind == TokenKind::kText ||
                             now().kind == TokenKind::kInteger || now().kind == TokenKind::kReal ||
                             now().is_sign("[") || now().is_sign("{");
  if (now().is_sign("(")) {
    test->arguments = call_arguments();
  } else if (value_follows && !now().is_name("else") && !now().is_name("or") && !now().is_name("and")) {
    if (now().is_name("is")) expected("one test, not a chain of them");
    Argument argument;
    argument.value = postfix(primary());
    test->arguments.push_back(std::move(argument));
  }
  check_depth(*test);
  if (conditions_ == 0 && !has_test(name)) unknown_.emplace_back(line, fmt::format("no test is named '{}'", name));
  test->name = std::move(name);
  return negated ? make(ExpressionKind::kNot, line, parts_of(std::move(test))) : std::move(test);
}

ExpressionPtr Parser::call(ExpressionPtr of) {
  const int line = now().line;
  auto call = make(ExpressionKind::kCall, line, parts_of(std::move(of)));
  call->arguments = call_arguments();
  check_depth(*call);
  return call;
}

std::vector<Argument> Parser::call_arguments() {
  const int line = take().line;
  std::vector<Argument> arguments;
  bool named = false, items = false, members = false;
  const auto ensure = [&](bool holds) {
    if (!holds) refuse(line, "arguments must come in this order: values, names with values, *list, **dict");
  };
  while (!now().is_sign(")")) {
    if (!arguments.empty()) {
      expect_sign(",");
      if (now().is_sign(")")) break;
    }
    Argument argument;
    if (skip_sign("*")) {
      ensure(!items && !members);
      items = true;
      argument.kind = ArgumentKind::kItems;
    } else if (skip_sign("**")) {
      ensure(!members);
      members = true;
      argument.kind = ArgumentKind::kMembers;
    } else if (now().kind == TokenKind::kName && ahead().is_sign("=")) {
      ensure(!members);
      named = true;
      argument.kind = ArgumentKind::kNamed;
      argument.name = take().text;
      take();
    } else {
      ensure(!named && !items && !members);
    }
    argument.value = expression();
    arguments.push_back(std::move(argument));
  }
  expect_sign(")");
  return arguments;
}

}  // namespace lt2::jinja
