#pragma once
// The syntax tree of a template.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "template/value.h"

namespace lt2::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ArgumentKind { kPositional, kNamed, kItems, kMembers };  // x, name=x, *x, **x

struct Argument {
  ArgumentKind kind = ArgumentKind::kPositional;
  std::string name;
  ExpressionPtr value;
};

enum class ExpressionKind {
  kConstant,
  kName,
  kNamespaceName,  // only as a target: name.attribute
  kAttribute,      // parts[0].name
  kItem,           // parts[0][parts[1]]
  kSlice,          // parts[0][parts[1]:parts[2]:parts[3]], each of the three may be null
  kCall,           // parts[0](arguments)
  kFilter,         // parts[0]|name(arguments); parts[0] is null at the start of a filter block
  kTest,           // parts[0] is name(arguments)
  kNot,
  kNegative,
  kPositive,
  kAnd,
  kOr,
  kCompare,      // parts[0] operators[0] parts[1] operators[1] parts[2] ...
  kArithmetic,   // parts[0] name parts[1]
  kConcat,       // parts[0] ~ parts[1] ~ ...
  kConditional,  // parts[1] if parts[0] else parts[2], which may be null
  kList,
  kTuple,
  kDict,  // key, value, key, value ...
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  int line = 1;
  int depth = 1;  // of the tree
  std::string name, attribute;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<Argument> arguments;
  std::vector<std::string> operators;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

/// What a macro and a call block have in common.
struct Signature {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;  // one a parameter, null if it has none
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
};

struct Branch {
  ExpressionPtr test;
  Body body;
};

enum class StatementKind {
  kText,
  kPrint,        // values
  kIf,           // branches, otherwise
  kFor,          // target in values[0], filter; body, otherwise
  kSet,          // target = values[0]
  kSetBlock,     // target = body through filter, which may be null
  kMacro,        // signature, body
  kCallBlock,    // values[0] is the call; signature and body are the caller
  kFilterBlock,  // body through filter
  kWith,         // targets = values, body
  kScope,        // body: a generation block
  kBreak,
  kContinue,
};

/// With the values they have until they are set.
using HiddenNames = std::vector<std::pair<std::string, Value>>;

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 1;
  std::string text;
  std::vector<ExpressionPtr> targets;
  std::vector<ExpressionPtr> values;
  ExpressionPtr filter;
  std::vector<Branch> branches;
  Signature signature;
  bool recursive = false;
  Body body, otherwise;
  HiddenNames hidden, hidden_otherwise;  // of each (hidden_names.h)
};

struct Tree {
  Body body;
  HiddenNames hidden;
};

}  // namespace lt2::jinja
