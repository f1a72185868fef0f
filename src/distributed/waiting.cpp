#include "distributed/waiting.h"

#include <poll.h>
#include <string.h>

#include <algorithm>

#include "base/log.h"
#include "base/signals.h"
#include "base/units.h"
#include "distributed/wire.h"

namespace lt2 {

Waiting::Waiting(const ProcessLayout& layout, double timeout_s, bool all_are_there)
    : self_(fmt::format("rank {} of {}", layout.rank, layout.world)),
      place_(wire::place_name(layout)),
      timeout_s_(timeout_s),
      signals_after_s_(all_are_there ? 2 : 0) {}

void Waiting::stopped(const std::string& by, const std::string& whom) const {
  throw MeetingStopped(
      fmt::format("{}: stopped by {} while waiting for {} at {}; nothing was begun", self_, by, whom, place_));
}

void Waiting::for_more_of(const std::string& whom) {
  const double waited = seconds_since(begin_);
  if (const int signal = stop_signal(); signal != 0 && waited >= signals_after_s_)
    stopped(fmt::format("signal {} ({})", signal, ::strsignal(signal)), whom);
  LT2_CHECK(waited < timeout_s_, "{}: {} did not come to {} within {} s (distributed.timeout_s)", self_, whom, place_,
            timeout_s_);
  if (waited > next_word_s_) {
    log_warning("{}: waiting for {} at {}, for up to {} s (distributed.timeout_s); Ctrl-C or SIGTERM ends it", self_,
                whom, place_, timeout_s_);
    next_word_s_ += 60;
  }
  ::poll(nullptr, 0, pause_ms_);  // a signal ends it early
  pause_ms_ = std::min(2 * pause_ms_, 50);
}

}  // namespace lt2
