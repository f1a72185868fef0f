#pragma once
// Tokens to a syntax tree.
#include <string>
#include <string_view>
#include <vector>

#include "template/lexer.h"
#include "template/syntax.h"

namespace lt2::jinja {

class Parser {
 public:
  Parser(std::vector<Token> tokens, const std::string& name, const TemplateOptions& options)
      : tokens_(std::move(tokens)), name_(name), limit_(options.limits.depth) {}
  /// Throws lt2::Error "NAME:LINE: ...".
  Tree parse();

 private:
  class Nested;   // one level of nesting
  class Outside;  // a body that the loops and conditions around it do not reach

  // Tokens.
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take();
  bool skip_sign(std::string_view sign);
  bool skip_name(std::string_view name);
  Token expect_name(const char* what);
  void expect_sign(std::string_view sign);
  void expect(TokenKind kind, const char* what);
  [[noreturn]] void refuse(int line, const std::string& message) const;
  [[noreturn]] void expected(const std::string& what) const;

  // Statements (parser.cpp).
  Body body_until(const std::vector<std::string>& ends);
  Body block_body(const std::vector<std::string>& ends);
  void statement(Body& into);
  std::unique_ptr<Statement> start(StatementKind kind);
  void parse_for(Statement& loop);
  void parse_if(Statement& statement);
  void parse_set(Statement& set);
  void parse_macro(Statement& macro);
  void parse_call(Statement& call);
  void parse_with(Statement& with);
  void parse_signature(Signature& signature);
  void macro_body(Statement& macro, const char* end);
  ExpressionPtr target(bool with_namespace);
  void check_target(const Expression& target);

  // Expressions (expressions.cpp).
  ExpressionPtr make(ExpressionKind kind, int line, std::vector<ExpressionPtr> parts = {});
  void check_depth(Expression& expression) const;
  ExpressionPtr expression(bool conditional = true);
  ExpressionPtr tuple(bool conditional, bool in_parentheses = false);
  bool ends_tuple() const;
  ExpressionPtr conditional();
  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters = true);
  ExpressionPtr primary();
  ExpressionPtr name_or_constant();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr of);
  ExpressionPtr subscript(ExpressionPtr of);
  ExpressionPtr slice_or_item(ExpressionPtr of);
  ExpressionPtr filters_and_tests(ExpressionPtr of);
  ExpressionPtr filter(ExpressionPtr of, bool inline_start = false);
  ExpressionPtr test(ExpressionPtr of);
  ExpressionPtr call(ExpressionPtr of);
  std::vector<Argument> call_arguments();

  std::vector<Token> tokens_;
  const std::string& name_;
  const int limit_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;      // around here, which break may end
  int all_loops_ = 0;  // around here, with those around a macro
  // Filters and tests that do not exist are errors, unless a condition stands in front: then they may never be reached.
  int conditions_ = 0;
  std::vector<std::pair<int, std::string>> unknown_;  // line and message
  std::vector<Signature*> macros_;
};

}  // namespace lt2::jinja
