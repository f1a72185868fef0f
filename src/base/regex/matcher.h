#pragma once
// Runs a program over one text, for as many searches as are wanted. Backtracking, but what has failed once is not tried
// again: all searches together take time in proportion to the text.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/regex/program.h"

namespace lt2 {

class RegexMatcher {
 public:
  /// Both must outlive it; `text` is well-formed UTF-8.
  RegexMatcher(const RegexProgram& program, std::string_view text);

  /// The first match at or behind `from`, as Oniguruma finds it.
  bool search(size_t from, size_t& begin, size_t& end);

 private:
  // A way that has not been tried yet, or (kTried) the last one of a state: when it is met, the state has failed.
  struct Choice {
    enum class Kind : uint8_t { kOther, kTried, kShorter } kind;
    int32_t place;     // of the instruction
    size_t at;         // where it was reached
    size_t low, high;  // kShorter: the ends still to be tried, and the one being tried
  };
  // What the runs of one instruction have in common. A run from anywhere in [begin, end] ends at `end`; what follows it
  // fails from everywhere in [failed_low, failed_high].
  struct Run {
    size_t begin = 1, end = 0;
    size_t failed_low = 1, failed_high = 0;
  };

  // Whether the pattern, or a body, matches from `at`; `only_whether`: where it ends does not matter.
  bool match(int32_t place, size_t at, size_t& end, bool only_whether);
  bool step(const RegexInstruction& instruction, int32_t& place, size_t& at);
  bool holds(const RegexInstruction& instruction, size_t at);
  bool take_run(const RegexInstruction& instruction, int32_t place, size_t& at);
  bool next_choice(size_t base, int32_t& place, size_t& at);
  bool shorter(Run& run, Choice& choice) const;
  void succeeded(size_t base);

  bool stands(int32_t set, size_t at) const;
  size_t length_if(int32_t set, size_t at) const;
  bool known(const std::vector<uint64_t>& states, int32_t slot, size_t at) const;
  void remember(std::vector<uint64_t>& states, int32_t slot, size_t at);

  const RegexProgram& program_;
  std::string_view text_;
  std::vector<Choice> choices_;
  std::vector<Run> runs_;
  // Of every slot and place, once so many steps were taken that keeping them pays.
  uint64_t steps_ = 0, most_steps_;
  std::vector<uint64_t> failed_, matched_;
};

}  // namespace lt2
