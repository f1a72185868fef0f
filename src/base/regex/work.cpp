#include "base/regex/work.h"

#include <algorithm>

#include "base/error.h"
#include "base/signals.h"

namespace lt2 {

void RegexWork::look() {
  if (steps_ > most_) give_up("too many steps");
  if (const int signal = stop_signal(); signal != 0)
    throw StoppedBySignal(
        fmt::format("{}: stopped by signal {} while searching a text of {} bytes", where_, signal, bytes_));
  next_look_ = std::min(steps_ + kBetweenLooks, most_ + 1);
}

void RegexWork::give_up(std::string_view why) const {
  fail("{}: searching a text of {} bytes: {}. Simplify the pattern", where_, bytes_, why);
}

}  // namespace lt2
