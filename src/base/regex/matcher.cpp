#include "base/regex/matcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/characters.h"

namespace lt2 {

using Op = RegexInstruction::Op;

// Ways that nothing is kept of, straight ones and the ends of runs, are taken again; this is far more often than that.
constexpr uint64_t kRepeats = 64;

RegexMatcher::RegexMatcher(const RegexProgram& program, std::string_view text, const std::string& where,
                           const Limits& limits)
    : RegexMatcher(program, text, where, limits.memory, limits.steps_per_byte * text.size() + limits.steps) {}

RegexMatcher::RegexMatcher(const RegexProgram& program, std::string_view text, const std::string& where, size_t memory,
                           uint64_t unkept)
    : program_(program),
      text_(text),
      runs_(static_cast<size_t>(program.slots)),
      work_(where, text.size(), unkept + kRepeats * (program.steps + 1) * (text.size() + 1), unkept),
      memory_(memory),
      most_choices_(memory / sizeof(Choice)) {}

bool RegexMatcher::search(size_t from, size_t& begin, size_t& end) {
  for (begin = from;; ++begin) {
    // Inside a character nothing begins.
    while (begin < text_.size() && (static_cast<uint8_t>(text_[begin]) & 0xc0) == 0x80) ++begin;
    count(1);
    if ((program_.first < 0 || stands(program_.first, begin)) && match(0, begin, end, false)) return true;
    if (begin >= text_.size()) return false;
  }
}

bool RegexMatcher::match(int32_t place, size_t at, size_t& end, bool only_whether) {
  const size_t base = choices_.size();
  for (;;) {
    const RegexInstruction& instruction = program_.code[static_cast<size_t>(place)];
    count(1);
    if (instruction.op == Op::kAccept || (keeps_ && known_end(instruction, at, only_whether))) {
      end = at;
      if (keeps_) succeeded(base, end, only_whether);
      choices_.resize(base);
      return true;
    }
    if (!step(instruction, place, at) && !next_choice(base, place, at)) return false;
  }
}

// Continues after the instruction; false if it does not match here.
bool RegexMatcher::step(const RegexInstruction& instruction, int32_t& place, size_t& at) {
  switch (instruction.op) {
    case Op::kCharacter: {
      const size_t bytes = length_if(instruction.set, at);
      at += bytes;
      place = instruction.next;
      return bytes > 0;
    }
    case Op::kRun:
      return take_run(instruction, std::exchange(place, instruction.next), at);
    case Op::kSplit:
      if (instruction.set >= 0 && !stands(instruction.set, at)) {
        place = instruction.other;
        return true;
      }
      if (known(failed_, instruction.slot, at)) return false;
      push({Choice::Kind::kOther, place, at, 0, 0});
      place = instruction.next;
      return true;
    case Op::kAtomic: {
      place = instruction.next;
      return match(instruction.other, at, at, false);
    }
    default:
      place = instruction.next;
      return holds(instruction, at) != instruction.negative;
  }
}

bool RegexMatcher::holds(const RegexInstruction& instruction, size_t at) {
  size_t end = 0;
  switch (instruction.op) {
    case Op::kAhead:
      return match(instruction.other, at, end, true);
    case Op::kBehind:
      return at > 0 && stands(instruction.set, character_before(text_, at));
    case Op::kLineBegin:
      return at == 0 || (text_[at - 1] == '\n' && at < text_.size());
    case Op::kLineEnd:
      return at == text_.size() || text_[at] == '\n';
    case Op::kTextBegin:
      return at == 0;
    case Op::kTextEnd:
      return at == text_.size();
    case Op::kLastLineEnd:
      return at == text_.size() || (text_[at] == '\n' && at + 1 == text_.size());
    case Op::kWordBoundary: {
      const bool before = at > 0 && stands(instruction.set, character_before(text_, at));
      return before != stands(instruction.set, at);
    }
    default:
      return true;  // kJump
  }
}

bool RegexMatcher::take_run(const RegexInstruction& instruction, int32_t place, size_t& at) {
  if (known(failed_, instruction.slot, at)) return false;
  Run& run = runs_[static_cast<size_t>(instruction.slot)];
  const size_t from = at;
  size_t low = at;
  for (uint32_t i = 0; i < instruction.least; ++i) {
    const size_t bytes = length_if(instruction.set, low);
    if (bytes == 0) return count(i), false;
    low += bytes;
  }
  size_t high = low;
  uint64_t scanned = instruction.least;
  const bool endless = instruction.most == RegexProgram::kEndless;
  for (uint32_t i = instruction.least; i < instruction.most; ++i) {
    if (endless && high >= run.begin && high <= run.end) {
      high = run.end;
      break;
    }
    const size_t bytes = length_if(instruction.set, high);
    if (bytes == 0) break;
    high += bytes;
    ++scanned;
  }
  count(scanned);
  if (endless) {
    const bool same = run.begin <= run.end && run.end == high;
    run.begin = same ? std::min(run.begin, low) : low;
    run.end = high;
  }
  if (instruction.possessive || low == high) {
    // This leaves no choice open, but coming back would cost another scan.
    if (keeps_) push({Choice::Kind::kTried, place, from, 0, 0});
    at = high;
    return true;
  }
  Choice choice{Choice::Kind::kShorter, place, from, low, high};
  if (!shorter(run, choice)) return false;
  at = choice.high;
  push(choice);
  return true;
}

// The longest end of at most `high` after which nothing has failed yet.
bool RegexMatcher::shorter(Run& run, Choice& choice) const {
  while (choice.high >= run.failed_low && choice.high <= run.failed_high) {
    if (run.failed_low <= choice.low) return false;
    choice.high = character_before(text_, run.failed_low);
  }
  return true;
}

bool RegexMatcher::next_choice(size_t base, int32_t& place, size_t& at) {
  while (choices_.size() > base) {
    Choice& choice = choices_.back();
    const RegexInstruction& instruction = program_.code[static_cast<size_t>(choice.place)];
    if (choice.kind == Choice::Kind::kOther) {
      choice.kind = Choice::Kind::kTried;
      at = choice.at;
      place = instruction.other;
      return true;
    }
    if (choice.kind == Choice::Kind::kShorter) {
      Run& run = runs_[static_cast<size_t>(instruction.slot)];
      const size_t failed = choice.high;
      const bool next_to_them = run.failed_low <= run.failed_high && failed < run.failed_low &&
                                failed == character_before(text_, run.failed_low);
      if (!next_to_them) run.failed_high = failed;
      run.failed_low = failed;
      if (shorter(run, choice)) {
        at = choice.high;
        place = instruction.next;
        return true;
      }
    }
    remember(failed_, instruction.slot, choice.at);
    choices_.pop_back();
  }
  return false;
}

void RegexMatcher::push(const Choice& choice) {
  if (choices_.size() >= most_choices_)
    work_.give_up(fmt::format("a match with more than {} choices at a time", most_choices_));
  choices_.push_back(choice);
}

// All choices that stand lie on the way that led to the end.
void RegexMatcher::succeeded(size_t base, size_t end, bool only_whether) {
  for (size_t i = base; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    const RegexInstruction& instruction = program_.code[static_cast<size_t>(choice.place)];
    if (only_whether)
      remember(matched_, instruction.slot, choice.at);
    else if (instruction.end_slot >= 0)
      ends_[state(instruction.end_slot, choice.at)] = static_cast<uint32_t>(end - choice.at + 1);
  }
}

void RegexMatcher::begin_to_keep() {
  const size_t places = text_.size() + 1;
  const size_t words = static_cast<size_t>(program_.slots) * places / 64 + 1;
  const size_t ends = static_cast<size_t>(program_.end_slots) * places;
  const size_t bytes = 2 * words * sizeof(uint64_t) + ends * sizeof(uint32_t);
  if (bytes > memory_ || (ends > 0 && places > UINT32_MAX))
    work_.give_up(fmt::format("{} bytes of memory to keep what was tried, {} are possible", bytes, memory_));
  failed_.resize(words);
  matched_.resize(words);
  ends_.resize(ends);
  keeps_ = true;
}

// Whether it was seen before how the body ends from there, and if so goes on to that; `only_whether`: that it does.
bool RegexMatcher::known_end(const RegexInstruction& instruction, size_t& at, bool only_whether) const {
  if (only_whether) return known(matched_, instruction.slot, at);
  if (instruction.end_slot < 0) return false;
  const uint32_t further = ends_[state(instruction.end_slot, at)];
  if (further > 0) at += further - 1;
  return further > 0;
}

bool RegexMatcher::stands(int32_t set, size_t at) const { return length_if(set, at) > 0; }

// Bytes of the character at `at` if it is one of `set`, else 0.
size_t RegexMatcher::length_if(int32_t set, size_t at) const {
  if (at >= text_.size()) return 0;
  const Character c = character_at(text_, at);
  return program_.classes[static_cast<size_t>(set)]->has(c.code) ? c.bytes : 0;
}

bool RegexMatcher::known(const std::vector<uint64_t>& states, int32_t slot, size_t at) const {
  if (!keeps_ || slot < 0) return false;
  const size_t bit = state(slot, at);
  return (states[bit / 64] >> (bit % 64)) & 1;
}

void RegexMatcher::remember(std::vector<uint64_t>& states, int32_t slot, size_t at) {
  if (!keeps_ || slot < 0) return;
  const size_t bit = state(slot, at);
  states[bit / 64] |= uint64_t{1} << (bit % 64);
}

}  // namespace lt2
