#include "base/regex/work.h"

#include <time.h>

#include <algorithm>

#include "base/error.h"
#include "base/signals.h"

namespace lt2 {
namespace {

// From here on a signal ends searches that Oniguruma makes.
constexpr int64_t kLong = 100'000'000;

thread_local TextWork* of_this_thread = nullptr;

// Of this thread's work: a machine busy with other things changes nothing.
int64_t nanoseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

TextWork::TextWork(const std::string& where, size_t bytes)
    : where_(where), bytes_(bytes), joins_(of_this_thread != nullptr) {
  if (!joins_) of_this_thread = this;
}

TextWork::~TextWork() {
  if (!joins_) of_this_thread = nullptr;
}

void TextWork::note(uint64_t steps) {
  if (of_this_thread != nullptr) of_this_thread->add(steps);
}

TextWork& TextWork::current() {
  LT2_CHECK(of_this_thread, "internal: this thread works on no text");
  return *of_this_thread;
}

void TextWork::look() {
  next_look_ = steps_ + kBetweenLooks;
  if (const int signal = stop_signal(); signal != 0)
    throw StoppedBySignal(
        fmt::format("{}: stopped by signal {} while working on a text of {} bytes", where_, signal, bytes_));
}

RegexWork::RegexWork(const std::string& where, size_t bytes) : own_(where, bytes), text_(TextWork::current()) {}

RegexWork::RegexWork(const std::string& where, size_t bytes, uint64_t most, uint64_t tell) : RegexWork(where, bytes) {
  most_ = most;
  tell_ = tell;
  set_pause();
}

RegexWork::RegexWork(const std::string& where, size_t bytes, uint64_t (*most_steps)(size_t),
                     int64_t (*most_nanoseconds)(size_t))
    : RegexWork(where, bytes) {
  limited_ = true;
  const uint64_t most = most_steps(text_.bytes_);
  most_ = most - std::min(most, text_.limited_steps_);
  begin_ = nanoseconds();
  most_nanoseconds_ = most_nanoseconds(text_.bytes_) - text_.limited_nanoseconds_;
  if (most_nanoseconds_ <= 0) give_up("too much time");
  set_pause();
}

RegexWork::~RegexWork() {
  text_.steps_ += steps_ - told_to_text_;
  if (!limited_) return;
  text_.limited_steps_ += steps_;
  text_.limited_nanoseconds_ += nanoseconds() - begin_;
}

void RegexWork::set_pause() {
  const uint64_t to_look = text_.next_look_ - std::min(text_.next_look_, text_.steps_);
  pause_ = std::min({most_, tell_, told_to_text_ + to_look});
}

bool RegexWork::end_pause() {
  const auto steps = steps_ - told_to_text_;
  told_to_text_ = steps_;
  if (steps_ > most_) give_up("too many steps");
  text_.add(steps);
  const bool now = steps_ > tell_;
  if (now) tell_ = UINT64_MAX;
  set_pause();
  return now;
}

void RegexWork::look() {
  const int64_t passed = nanoseconds() - begin_;
  if (passed > most_nanoseconds_) give_up("too much time");
  if (passed > kLong) text_.look();
}

void RegexWork::give_up(std::string_view why) const {
  fail("{}: searching a text of {} bytes: {}. Simplify the pattern", own_.where_, text_.bytes_, why);
}

}  // namespace lt2
