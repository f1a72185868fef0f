#include "template/parser.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "template/hidden_names.h"
#include "template/parser_levels.h"

namespace lt2::jinja {

Token Parser::take() {
  Token token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::skip_sign(std::string_view sign) {
  if (!now().is_sign(sign)) return false;
  take();
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!now().is_name(name)) return false;
  take();
  return true;
}

Token Parser::expect_name(const char* what) {
  if (now().kind != TokenKind::kName) expected(what);
  return take();
}

void Parser::expect_sign(std::string_view sign) {
  if (!skip_sign(sign)) expected(fmt::format("'{}'", sign));
}

void Parser::expect(TokenKind kind, const char* what) {
  if (now().kind != kind) expected(what);
  take();
}

void Parser::refuse(int line, const std::string& message) const { fail("{}:{}: {}", name_, line, message); }

void Parser::expected(const std::string& what) const {
  refuse(now().line, fmt::format("expected {}, found {}", what, now().description()));
}

Tree Parser::parse() {
  Tree tree;
  tree.body = body_until({});
  find_hidden_names(tree);
  return tree;
}

// Up to a tag whose name is one of `ends`, which is then the current token; without ends up to the end of the template.
Body Parser::body_until(const std::vector<std::string>& ends) {
  const Nested level(*this);
  Body body;
  while (now().kind != TokenKind::kEnd) {
    if (now().kind == TokenKind::kData) {
      auto text = start(StatementKind::kText);
      text->text = take().text;
      body.push_back(std::move(text));
    } else if (now().kind == TokenKind::kPrintBegin) {
      take();
      auto print = start(StatementKind::kPrint);
      print->values.push_back(tuple(true));
      expect(TokenKind::kPrintEnd, "'}}'");
      body.push_back(std::move(print));
    } else {
      expect(TokenKind::kBlockBegin, "'{%'");
      if (now().kind == TokenKind::kName && std::find(ends.begin(), ends.end(), now().text) != ends.end()) return body;
      statement(body);
      expect(TokenKind::kBlockEnd, "'%}'");
    }
    if (!unknown_.empty()) refuse(unknown_[0].first, unknown_[0].second);
  }
  if (!ends.empty()) expected(fmt::format("{{% {} %}}", fmt::join(ends, " %} or {% ")));
  return body;
}

// The rest of a tag and what follows it.
Body Parser::block_body(const std::vector<std::string>& ends) {
  skip_sign(":");
  expect(TokenKind::kBlockEnd, "'%}'");
  return body_until(ends);
}

std::unique_ptr<Statement> Parser::start(StatementKind kind) {
  auto statement = std::make_unique<Statement>();
  statement->kind = kind;
  statement->line = now().line;
  return statement;
}

void Parser::statement(Body& into) {
  const Token tag = expect_name("the name of a tag");
  const auto add = [&](StatementKind kind) -> Statement& {
    into.push_back(start(kind));
    into.back()->line = tag.line;
    return *into.back();
  };
  if (tag.text == "for") return parse_for(add(StatementKind::kFor));
  if (tag.text == "if") return parse_if(add(StatementKind::kIf));
  if (tag.text == "set") return parse_set(add(StatementKind::kSet));
  if (tag.text == "macro") return parse_macro(add(StatementKind::kMacro));
  if (tag.text == "call") return parse_call(add(StatementKind::kCallBlock));
  if (tag.text == "with") return parse_with(add(StatementKind::kWith));
  if (tag.text == "print") {
    auto& print = add(StatementKind::kPrint);
    while (now().kind != TokenKind::kBlockEnd) {
      if (!print.values.empty()) expect_sign(",");
      print.values.push_back(expression());
    }
    return;
  }
  if (tag.text == "filter") {
    auto& block = add(StatementKind::kFilterBlock);
    block.filter = filter(nullptr, true);
    const Outside outside(*this, /*ends_loops=*/false);
    block.body = block_body({"endfilter"});
    take();
    return;
  }
  if (tag.text == "generation") {
    auto& block = add(StatementKind::kScope);
    const Outside outside(*this, /*ends_loops=*/true);
    block.body = block_body({"endgeneration"});
    take();
    return;
  }
  if (tag.text == "break" || tag.text == "continue") {
    add(tag.text == "break" ? StatementKind::kBreak : StatementKind::kContinue);
    if (loops_ == 0) refuse(tag.line, fmt::format("{} outside of a loop", tag.text));
    return;
  }
  for (const char* other : {"extends", "include", "import", "from", "block", "autoescape"})
    if (tag.text == other)
      refuse(tag.line, fmt::format("{{% {} %}} is not in the subset of Jinja that runs here", other));
  refuse(tag.line, fmt::format("unknown tag {{% {} %}}", tag.text));
}

void Parser::parse_for(Statement& loop) {
  loop.targets.push_back(target(false));
  ++all_loops_;
  check_target(*loop.targets[0]);
  --all_loops_;
  if (!skip_name("in")) expected("'in'");
  loop.values.push_back(tuple(false));
  const Outside outside(*this, /*ends_loops=*/false);
  if (skip_name("if")) loop.filter = expression();
  loop.recursive = skip_name("recursive");
  ++loops_;
  ++all_loops_;
  loop.body = block_body({"endfor", "else"});
  --all_loops_;
  --loops_;
  if (take().text == "endfor") return;
  loop.otherwise = block_body({"endfor"});
  take();
}

void Parser::parse_if(Statement& statement) {
  ++conditions_;
  while (true) {
    Branch branch;
    branch.test = tuple(false);
    branch.body = block_body({"elif", "else", "endif"});
    statement.branches.push_back(std::move(branch));
    const Token end = take();
    if (end.text == "elif") continue;
    if (end.text == "else") {
      statement.otherwise = block_body({"endif"});
      take();
    }
    break;
  }
  --conditions_;
}

void Parser::parse_set(Statement& set) {
  set.targets.push_back(target(true));
  check_target(*set.targets[0]);
  if (skip_sign("=")) {
    set.values.push_back(tuple(true));
    return;
  }
  set.kind = StatementKind::kSetBlock;
  const Outside outside(*this, /*ends_loops=*/false);
  if (now().is_sign("|")) set.filter = filter(nullptr);
  set.body = block_body({"endset"});
  take();
}

void Parser::parse_macro(Statement& macro) {
  macro.signature.name = expect_name("the name of a macro").text;
  parse_signature(macro.signature);
  macro_body(macro, "endmacro");
}

void Parser::parse_call(Statement& call) {
  if (now().is_sign("(")) parse_signature(call.signature);
  call.values.push_back(expression());
  if (call.values[0]->kind != ExpressionKind::kCall) refuse(call.line, "expected a call after {% call");
  macro_body(call, "endcall");
}

void Parser::macro_body(Statement& macro, const char* end) {
  const Outside outside(*this, /*ends_loops=*/true);
  macros_.push_back(&macro.signature);
  macro.body = block_body({end});
  macros_.pop_back();
  take();
  auto& signature = macro.signature;
  for (size_t i = 0; i < signature.parameters.size(); ++i) {
    if (signature.parameters[i] == "kwargs") signature.uses_kwargs = false;
    if (signature.parameters[i] == "varargs") signature.uses_varargs = false;
    if (signature.parameters[i] == "caller" && signature.uses_caller && !signature.defaults[i])
      refuse(macro.line, "the parameter caller needs a default, or must be left out");
  }
}

void Parser::parse_signature(Signature& signature) {
  expect_sign("(");
  while (!now().is_sign(")")) {
    if (!signature.parameters.empty()) expect_sign(",");
    const Token parameter = expect_name("the name of a parameter");
    auto& known = signature.parameters;
    if (std::find(known.begin(), known.end(), parameter.text) != known.end())
      refuse(parameter.line, fmt::format("the parameter {} stands there twice", parameter.text));
    known.push_back(parameter.text);
    if (skip_sign("=")) {
      signature.defaults.push_back(expression());
    } else if (!signature.defaults.empty() && signature.defaults.back()) {
      refuse(parameter.line,
             fmt::format("the parameter {} needs a default, because one before it has one", parameter.text));
    } else {
      signature.defaults.push_back(nullptr);
    }
  }
  expect_sign(")");
}

void Parser::parse_with(Statement& with) {
  while (now().kind != TokenKind::kBlockEnd) {
    if (!with.targets.empty()) expect_sign(",");
    with.targets.push_back(target(false));
    check_target(*with.targets.back());
    expect_sign("=");
    with.values.push_back(expression());
  }
  const Outside outside(*this, /*ends_loops=*/false);
  with.body = block_body({"endwith"});
  take();
}

// A name, a tuple of names or, if it may be one, NAMESPACE.ATTRIBUTE.
ExpressionPtr Parser::target(bool with_namespace) {
  const Nested level(*this);
  const int line = now().line;
  std::vector<ExpressionPtr> parts;
  bool many = false;
  while (true) {
    if (!parts.empty()) expect_sign(",");
    if (ends_tuple()) break;
    if (now().kind == TokenKind::kName && with_namespace && ahead().is_sign(".")) {
      auto name = make(ExpressionKind::kNamespaceName, now().line);
      name->name = take().text;
      take();
      name->attribute = expect_name("the name of an attribute").text;
      parts.push_back(std::move(name));
    } else if (now().is_sign("(")) {
      take();
      parts.push_back(target(with_namespace));
      if (now().is_sign(",")) expected("')'");
      expect_sign(")");
    } else {
      auto name = make(ExpressionKind::kName, now().line);
      name->name = expect_name("a name to set").text;
      parts.push_back(std::move(name));
    }
    if (!now().is_sign(",")) break;
    many = true;
  }
  if (!many && parts.size() == 1) return std::move(parts[0]);
  if (parts.empty()) expected("a name to set");
  return make(ExpressionKind::kTuple, line, std::move(parts));
}

void Parser::check_target(const Expression& target) {
  for (const auto& part : target.parts) check_target(*part);
  if (target.kind != ExpressionKind::kName) return;
  for (const char* constant : {"true", "false", "none", "True", "False", "None"})
    if (target.name == constant) refuse(target.line, fmt::format("{} cannot be set", constant));
  if (target.name == "loop" && all_loops_ > 0) refuse(target.line, "loop cannot be set inside a loop");
}

}  // namespace lt2::jinja
