#pragma once
// A pattern as instructions for Matcher: what published patterns are made of (characters, alternatives, repetition of
// all kinds, groups, looking ahead, looking at the character before, anchors). Whatever else Oniguruma knows, such as
// references to groups, has no program.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/regex/character_class.h"

namespace lt2 {

struct RegexInstruction {
  enum class Op : uint8_t {
    kCharacter,  // one character of `set`
    kRun,        // `least` to `most` of them, longest first
    kSplit,      // `next`, else `other`
    kJump,
    kAhead,   // the body at `other` must match here; with `negative`, must not
    kBehind,  // a character of `set` must stand before; with `negative`, must not
    kAtomic,  // the body at `other`, whose first way is its only one
    kLineBegin,
    kLineEnd,
    kTextBegin,
    kTextEnd,
    kLastLineEnd,   // at the end, or before a line feed there
    kWordBoundary,  // `set` is \w
    kAccept,        // the end of the pattern or of a body
  };
  Op op = Op::kAccept;
  bool negative = false;
  bool possessive = false;  // kRun: no shorter one is tried
  int32_t set = -1;         // index into classes; kSplit: what must stand here for `next` to match, -1: unknown
  int32_t next = -1, other = -1;
  uint32_t least = 0, most = 0;
  int32_t slot = -1;      // kRun, kSplit: their number among themselves, where Matcher keeps what has failed
  int32_t end_slot = -1;  // those directly in a kAtomic's body: the same, where Matcher keeps how the body ended
};

struct RegexProgram {
  static constexpr uint32_t kEndless = UINT32_MAX;

  std::vector<RegexInstruction> code;  // begins at 0
  std::vector<std::unique_ptr<CharacterClass>> classes;
  int32_t first = -1;  // the class of every match's first character, -1: unknown
  int32_t slots = 0, end_slots = 0;
  uint64_t steps = 0;  // at most, of running each instruction once

  /// Of a pattern that Oniguruma takes. Null if it has no program.
  static std::unique_ptr<const RegexProgram> compile(const std::string& pattern);
};

}  // namespace lt2
