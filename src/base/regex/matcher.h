#pragma once
// Runs a program over one text, for as many searches as are wanted. Backtracking, but once the steps have shown that it
// pays, how a way ended is kept for every place of the text and every instruction that has a choice: no choice is
// tried twice, and all searches together take time in proportion to the text.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/regex/program.h"
#include "base/regex/work.h"

namespace lt2 {

class RegexMatcher {
 public:
  struct Limits {
    uint64_t steps_per_byte = 64, steps = 4096;  // from here on what was tried is kept
    size_t memory = size_t{1} << 30;             // in bytes: of the choices at a time, and again of what is kept
  };

  /// All must outlive it; `text` is well-formed UTF-8, `where` stands in errors.
  RegexMatcher(const RegexProgram& program, std::string_view text, const std::string& where, const Limits& limits);
  RegexMatcher(const RegexProgram& program, std::string_view text, const std::string& where)
      : RegexMatcher(program, text, where, Limits()) {}

  /// The first match at or after `from`, as Oniguruma finds it. Throws lt2::Error if that takes more memory than the
  /// limit or, a backstop, many times the steps that running every instruction everywhere takes; StoppedBySignal.
  bool search(size_t from, size_t& begin, size_t& end);
  /// Instructions run and characters scanned so far.
  uint64_t steps() const { return work_.steps(); }

 private:
  RegexMatcher(const RegexProgram& program, std::string_view text, const std::string& where, size_t memory,
               uint64_t unkept);

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
  void push(const Choice& choice);
  void succeeded(size_t base, size_t end, bool only_whether);
  void count(uint64_t steps) {
    if (work_.add(steps)) begin_to_keep();
  }
  void begin_to_keep();
  bool known_end(const RegexInstruction& instruction, size_t& at, bool only_whether) const;

  bool stands(int32_t set, size_t at) const;
  size_t length_if(int32_t set, size_t at) const;
  size_t state(int32_t slot, size_t at) const { return static_cast<size_t>(slot) * (text_.size() + 1) + at; }
  bool known(const std::vector<uint64_t>& states, int32_t slot, size_t at) const;
  void remember(std::vector<uint64_t>& states, int32_t slot, size_t at);

  const RegexProgram& program_;
  std::string_view text_;
  std::vector<Choice> choices_;
  std::vector<Run> runs_;
  RegexWork work_;
  size_t memory_, most_choices_;
  // Of every slot and place, once so many steps were taken that keeping them pays: what follows fails; in a body that
  // looks ahead, matches; in an atomic one, ends so many bytes further on, plus one.
  bool keeps_ = false;
  std::vector<uint64_t> failed_, matched_;
  std::vector<uint32_t> ends_;
};

}  // namespace lt2
