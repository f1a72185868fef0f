#include "base/regex/program.h"

#include <map>
#include <utility>

#include "base/regex/node.h"

namespace lt2 {
namespace {

using Kind = RegexNode::Kind;
using Mode = RegexNode::Mode;
using Op = RegexInstruction::Op;

struct TooLong {};

// Writes the tree's instructions one after the other: what follows a node is the instruction after its last.
class Writer {
 public:
  explicit Writer(RegexProgram& program) : program_(program) {}

  void whole(const RegexNode& node) {
    write(node);
    add({.op = Op::kAccept});
    program_.first = first_of(node);
  }

 private:
  static constexpr size_t kLongest = 5000;

  int32_t here() const { return static_cast<int32_t>(program_.code.size()); }

  int32_t add(RegexInstruction instruction) {
    if (program_.code.size() == kLongest) throw TooLong();
    if (instruction.op == Op::kRun || instruction.op == Op::kSplit) {
      instruction.slot = program_.slots++;
      if (body_ == Op::kAtomic) instruction.end_slot = program_.end_slots++;
    }
    const bool counted = instruction.op == Op::kRun && instruction.most != RegexProgram::kEndless;
    program_.steps += 1 + (counted ? instruction.most : instruction.least);
    instruction.next = here() + 1;
    program_.code.push_back(instruction);
    return here() - 1;
  }
  RegexInstruction& at(int32_t place) { return program_.code[static_cast<size_t>(place)]; }

  int32_t class_of(const std::string& atom) {
    const auto [known, is_new] = classes_.emplace(atom, static_cast<int32_t>(program_.classes.size()));
    if (is_new) program_.classes.push_back(std::make_unique<CharacterClass>(atom));
    return known->second;
  }

  // The class of the first character of whatever the node matches; -1 if that is not one class.
  int32_t first_of(const RegexNode& node) {
    if (node.kind == Kind::kSet) return class_of(node.atom);
    const bool needed = node.kind == Kind::kAtomic || (node.kind == Kind::kRepeat && node.least > 0) ||
                        (node.kind == Kind::kSequence && !node.parts.empty());
    return needed ? first_of(node.parts.front()) : -1;
  }

  void write(const RegexNode& node) {
    switch (node.kind) {
      case Kind::kSet:
        add({.op = Op::kCharacter, .set = class_of(node.atom)});
        return;
      case Kind::kSequence:
        for (const auto& part : node.parts) write(part);
        return;
      case Kind::kAlternatives:
        return write_alternatives(node);
      case Kind::kRepeat:
        return write_repeat(node);
      case Kind::kAtomic:
        return write_body(Op::kAtomic, node.parts.front(), false);
      case Kind::kAhead:
        return write_body(Op::kAhead, node.parts.front(), node.negative);
      case Kind::kBehind:
        add({.op = Op::kBehind, .negative = node.negative, .set = class_of(node.atom)});
        return;
      case Kind::kAnchor:
        add({.op = node.anchor,
             .negative = node.negative,
             .set = node.anchor == Op::kWordBoundary ? class_of("\\w") : -1});
        return;
    }
  }

  // next: the body; other: what comes after it.
  template <class Body>
  void write_optional(const RegexNode& node, bool lazy, const Body& body) {
    const int32_t split = add({.op = Op::kSplit, .set = lazy ? -1 : first_of(node)});
    body(split);
    at(split).other = here();
    if (lazy) std::swap(at(split).next, at(split).other);
  }

  void write_alternatives(const RegexNode& node) {
    std::vector<int32_t> ends;
    for (size_t i = 0; i + 1 < node.parts.size(); ++i) {
      write_optional(node.parts[i], false, [&](int32_t) {
        write(node.parts[i]);
        ends.push_back(add({.op = Op::kJump}));
      });
    }
    write(node.parts.back());
    for (const int32_t end : ends) at(end).next = here();
  }

  void write_body(Op op, const RegexNode& body, bool negative) {
    const int32_t look = add({.op = op, .negative = negative});
    at(look).other = here();
    const Op around = std::exchange(body_, op);
    write(body);
    add({.op = Op::kAccept});
    body_ = around;
    at(look).next = here();
  }

  void write_repeat(const RegexNode& node) {
    const RegexNode& part = node.parts.front();
    if (part.kind == Kind::kSet && node.mode != Mode::kLazy) {
      add({.op = Op::kRun,
           .possessive = node.mode == Mode::kPossessive,
           .set = class_of(part.atom),
           .least = node.least,
           .most = node.most});
      return;
    }
    if (node.mode == Mode::kPossessive) {
      RegexNode greedy = node;
      greedy.mode = Mode::kGreedy;
      return write_body(Op::kAtomic, greedy, false);
    }
    const bool lazy = node.mode == Mode::kLazy;
    for (uint32_t i = 0; i < node.least; ++i) write(part);
    if (node.most == RegexProgram::kEndless) {
      write_optional(part, lazy, [&](int32_t split) {
        write(part);
        at(add({.op = Op::kJump})).next = split;
      });
    } else {
      write_up_to(part, node.most - node.least, lazy);
    }
  }

  void write_up_to(const RegexNode& part, uint32_t count, bool lazy) {
    std::vector<int32_t> splits;
    for (uint32_t i = 0; i < count; ++i) {
      splits.push_back(add({.op = Op::kSplit, .set = lazy ? -1 : first_of(part)}));
      write(part);
    }
    for (const int32_t split : splits) {
      at(split).other = here();
      if (lazy) std::swap(at(split).next, at(split).other);
    }
  }

  RegexProgram& program_;
  std::map<std::string, int32_t> classes_;
  Op body_ = Op::kAccept;  // what the innermost body around belongs to
};

}  // namespace

std::unique_ptr<const RegexProgram> RegexProgram::compile(const std::string& pattern) {
  const auto tree = parse_regex(pattern);
  if (!tree) return nullptr;
  auto program = std::make_unique<RegexProgram>();
  try {
    Writer(*program).whole(*tree);
  } catch (const TooLong&) {
    return nullptr;
  }
  return program;
}

}  // namespace lt2
