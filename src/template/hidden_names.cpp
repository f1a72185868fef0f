#include "template/hidden_names.h"

#include <unordered_set>

namespace lt2::jinja {
namespace {

// The names of one block, first those that it names itself, then the blocks inside it.
class Block {
 public:
  explicit Block(const Block* around) : around_(around) {}

  void parameter(const std::string& name) { names_.insert(name); }
  void parameter(const Expression& target) {
    if (target.kind == ExpressionKind::kName) parameter(target.name);
    for (const auto& part : target.parts) parameter(*part);
  }

  void read(const Expression* expression) {
    if (!expression) return;
    if (expression->kind == ExpressionKind::kName || expression->kind == ExpressionKind::kNamespaceName) {
      if (!known(expression->name)) names_.insert(expression->name);
    }
    for (const auto& part : expression->parts) read(part.get());
    for (const auto& argument : expression->arguments) read(argument.value.get());
  }

  HiddenNames all_of(Body& body) {
    own_names_of(body);
    inside(body);
    return std::move(hidden_);
  }

  void own_names_of(const Body& body) {
    for (const auto& statement : body) own_names_of(*statement);
  }

 private:
  bool known(const std::string& name) const {
    for (const Block* block = this; block; block = block->around_)
      if (block->names_.count(name)) return true;
    return false;
  }

  void set(const std::string& name) {
    if (!known(name) && conditions_ == 0) hidden_.emplace_back(name, Value::undefined("'" + name + "' is undefined"));
    names_.insert(name);
  }
  void set(const Expression& target) {
    if (target.kind == ExpressionKind::kName) set(target.name);
    if (target.kind == ExpressionKind::kNamespaceName) read(&target);
    for (const auto& part : target.parts) set(*part);
  }

  void own_names_of(const Statement& statement) {
    switch (statement.kind) {
      case StatementKind::kIf:
        for (const auto& branch : statement.branches) {
          read(branch.test.get());
          ++conditions_;
          own_names_of(branch.body);
          --conditions_;
        }
        ++conditions_;
        own_names_of(statement.otherwise);
        --conditions_;
        break;
      case StatementKind::kMacro:
        set(statement.signature.name);
        break;
      case StatementKind::kSet:
        read(statement.values[0].get());
        [[fallthrough]];
      case StatementKind::kSetBlock:
        set(*statement.targets[0]);
        break;
      case StatementKind::kFilterBlock:
        read(statement.filter.get());
        break;
      default:  // what a loop, with or a call block reads outside of its body, and what is printed
        for (const auto& value : statement.values) read(value.get());
    }
  }

  void inside(Body& body) {
    for (const auto& statement : body) inside(*statement);
  }

  void inside(Statement& statement) {
    if (statement.kind == StatementKind::kIf) {
      for (auto& branch : statement.branches) inside(branch.body);
      return inside(statement.otherwise);
    }
    Block inner(this);
    if (statement.kind == StatementKind::kFor || statement.kind == StatementKind::kWith)
      for (const auto& target : statement.targets) inner.parameter(*target);
    if (statement.kind == StatementKind::kFor) inner.parameter("loop");
    for (const auto& parameter : statement.signature.parameters) inner.parameter(parameter);
    for (const char* name : {"caller", "kwargs", "varargs"}) {
      const bool macro = statement.kind == StatementKind::kMacro || statement.kind == StatementKind::kCallBlock;
      if (macro) inner.parameter(name);
    }
    for (const auto& otherwise : statement.signature.defaults) inner.read(otherwise.get());
    statement.hidden = inner.all_of(statement.body);
    statement.hidden_otherwise = Block(this).all_of(statement.otherwise);
  }

  const Block* around_;
  std::unordered_set<std::string> names_;
  HiddenNames hidden_;
  int conditions_ = 0;
};

}  // namespace

void find_hidden_names(Tree& tree) { tree.hidden = Block(nullptr).all_of(tree.body); }

}  // namespace lt2::jinja
