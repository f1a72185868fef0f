#pragma once
// Runs a syntax tree.
#include <memory>
#include <string>

#include "template/objects.h"
#include "template/runtime.h"
#include "template/scope.h"
#include "template/syntax.h"

namespace lt2::jinja {

class Evaluator : public Runtime {
 public:
  explicit Evaluator(const TemplateOptions& with);
  void define(const std::string& name, Value value) { scope_->set(name, std::move(value)); }
  /// The text of the whole template. Throws lt2::Error without a place, which line() says.
  std::string run(const Tree& tree);
  /// Where the last thing happened.
  int line() const { return line_; }

 private:
  class Macro;
  class Inside;   // another scope, up to the end of a block
  class Capture;  // another place for the text, up to the end of a block
  enum class Flow { kOn, kBreak, kContinue };
  // Macros that call each other go this deep into expressions and statements together: what fits a thread's stack.
  static constexpr int kMostLevels = 1500;

  // Statements (statements.cpp).
  static std::shared_ptr<Scope> scope_in(const std::shared_ptr<Scope>& around, const HiddenNames& hidden);
  Flow run(const Body& body);
  Flow run(const Statement& statement);
  Flow run_if(const Statement& statement);
  Flow run_loop(const Statement& statement, const Value& items, int depth0);
  std::string run_recursive(const Statement& statement, const Value& items, int depth0);
  Flow run_filter_block(const Statement& statement);
  Value filter_chain(const Expression& filter, const Value& input);
  Flow run_set_block(const Statement& statement);
  Flow run_with(const Statement& statement);
  void run_set(const Statement& statement);
  void run_call_block(const Statement& statement);
  void print(const std::string& text);
  void assign(const Expression& target, const Value& value);
  void check_namespaces(const Expression& target);
  Value macro_of(const Statement& statement);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  void bind(const Macro& macro, const Arguments& arguments);

  // Expressions (evaluator.cpp).
  Value value_of(const Expression& expression);
  Value by_kind(const Expression& expression);
  Value name(const Expression& expression);
  Value comparison(const Expression& expression);
  Value concatenation(const Expression& expression);
  Value call(const Expression& expression, const Value* caller = nullptr);
  Value call(const Value& callee, Arguments& arguments);
  Value filtered(const Expression& expression, const Value& input);
  Value list(const Expression& expression);
  Value dict(const Expression& expression);
  Arguments arguments_of(const Expression& expression);

  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  int line_ = 1;
  int depth_ = 0;  // of expressions and statements in each other
  int calls_ = 0;  // of macros and recursive loops in each other
};

}  // namespace lt2::jinja
