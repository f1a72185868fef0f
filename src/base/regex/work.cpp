#include "base/regex/work.h"

#include <algorithm>

#include "base/error.h"
#include "base/signals.h"

namespace lt2 {

RegexWork::RegexWork(const std::string& where, size_t bytes, uint64_t most, uint64_t tell)
    : where_(where), bytes_(bytes), most_(most), tell_(tell), pause_(std::min({most_, tell_, next_look_})) {}

bool RegexWork::end_pause() {
  if (steps_ > most_ || steps_ > next_look_) look();
  const bool now = steps_ > tell_;
  if (now) tell_ = UINT64_MAX;
  pause_ = std::min({most_, tell_, next_look_});
  return now;
}

void RegexWork::look() {
  if (steps_ > most_) give_up("too many steps");
  if (const int signal = stop_signal(); signal != 0)
    throw StoppedBySignal(
        fmt::format("{}: stopped by signal {} while searching a text of {} bytes", where_, signal, bytes_));
  next_look_ = steps_ + kBetweenLooks;
}

void RegexWork::give_up(std::string_view why) const {
  fail("{}: searching a text of {} bytes: {}. Simplify the pattern", where_, bytes_, why);
}

}  // namespace lt2
