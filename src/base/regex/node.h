#pragma once
// A pattern as a tree.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/regex/program.h"

namespace lt2 {

struct RegexNode {
  enum class Kind { kSet, kSequence, kAlternatives, kRepeat, kAtomic, kAhead, kBehind, kAnchor };
  enum class Mode { kGreedy, kLazy, kPossessive };

  Kind kind = Kind::kSequence;
  std::string atom;              // kSet, kBehind: the pattern of one character
  std::vector<RegexNode> parts;  // kRepeat, kAtomic, kAhead: one
  uint32_t least = 0, most = 0;  // kRepeat
  Mode mode = Mode::kGreedy;     // kRepeat
  bool negative = false;         // kAhead, kBehind, a kAnchor that is \B
  RegexInstruction::Op anchor = RegexInstruction::Op::kAccept;

  bool can_be_empty() const;
};

/// The tree of a pattern that Oniguruma takes; nullopt if it holds what has no tree, or might: characters that match
/// several when case is ignored, rare spellings.
std::optional<RegexNode> parse_regex(const std::string& pattern);

}  // namespace lt2
