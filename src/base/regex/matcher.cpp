#include "base/regex/matcher.h"

#include <algorithm>
#include <utility>

#include "base/characters.h"

namespace lt2 {

using Op = RegexInstruction::Op;

RegexMatcher::RegexMatcher(const RegexProgram& program, std::string_view text)
    : program_(program),
      text_(text),
      runs_(static_cast<size_t>(program.slots)),
      most_steps_(uint64_t{64} * text.size() + 4096) {}

bool RegexMatcher::search(size_t from, size_t& begin, size_t& end) {
  for (begin = from;; ++begin) {
    // Inside a character nothing begins.
    while (begin < text_.size() && (static_cast<uint8_t>(text_[begin]) & 0xc0) == 0x80) ++begin;
    if ((program_.first < 0 || stands(program_.first, begin)) && match(0, begin, end, false)) return true;
    if (begin >= text_.size()) return false;
  }
}

bool RegexMatcher::match(int32_t place, size_t at, size_t& end, bool only_whether) {
  const size_t base = choices_.size();
  for (;;) {
    const RegexInstruction& instruction = program_.code[static_cast<size_t>(place)];
    if (++steps_ > most_steps_ && failed_.empty()) {
      const size_t states = static_cast<size_t>(program_.slots) * (text_.size() + 1);
      failed_.resize(states / 64 + 1);
      matched_.resize(states / 64 + 1);
    }
    if (instruction.op == Op::kAccept || (only_whether && known(matched_, instruction.slot, at))) {
      if (only_whether) succeeded(base);
      choices_.resize(base);
      end = at;
      return true;
    }
    if (!step(instruction, place, at) && !next_choice(base, place, at)) return false;
  }
}

// Goes on behind the instruction; false if it does not match here.
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
      choices_.push_back({Choice::Kind::kOther, place, at, 0, 0});
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
    if (bytes == 0) return false;
    low += bytes;
  }
  size_t high = low;
  const bool endless = instruction.most == RegexProgram::kEndless;
  for (uint32_t i = instruction.least; i < instruction.most; ++i) {
    if (endless && high >= run.begin && high <= run.end) {
      high = run.end;
      break;
    }
    const size_t bytes = length_if(instruction.set, high);
    if (bytes == 0) break;
    high += bytes;
  }
  if (endless) {
    const bool same = run.begin <= run.end && run.end == high;
    run.begin = same ? std::min(run.begin, low) : low;
    run.end = high;
  }
  if (instruction.possessive || low == high) {
    at = high;
    return true;
  }
  Choice choice{Choice::Kind::kShorter, place, from, low, high};
  if (!shorter(run, choice)) return false;
  at = choice.high;
  choices_.push_back(choice);
  return true;
}

// The longest end of at most `high` behind which nothing has failed yet.
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

// All choices that stand lie on the way that led to the end.
void RegexMatcher::succeeded(size_t base) {
  for (size_t i = base; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    remember(matched_, program_.code[static_cast<size_t>(choice.place)].slot, choice.at);
  }
}

bool RegexMatcher::stands(int32_t set, size_t at) const { return length_if(set, at) > 0; }

// Bytes of the character at `at` if it is one of `set`, else 0.
size_t RegexMatcher::length_if(int32_t set, size_t at) const {
  if (at >= text_.size()) return 0;
  const Character c = character_at(text_, at);
  return program_.classes[static_cast<size_t>(set)]->has(c.code) ? c.bytes : 0;
}

bool RegexMatcher::known(const std::vector<uint64_t>& states, int32_t slot, size_t at) const {
  if (states.empty() || slot < 0) return false;
  const size_t state = static_cast<size_t>(slot) * (text_.size() + 1) + at;
  return (states[state / 64] >> (state % 64)) & 1;
}

void RegexMatcher::remember(std::vector<uint64_t>& states, int32_t slot, size_t at) {
  if (states.empty() || slot < 0) return;
  const size_t state = static_cast<size_t>(slot) * (text_.size() + 1) + at;
  states[state / 64] |= uint64_t{1} << (state % 64);
}

}  // namespace lt2
