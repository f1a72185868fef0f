#pragma once
// Waiting for other ranks before a run begins: it says for whom, and it ends at the first signal.
#include <chrono>
#include <string>

#include "base/error.h"
#include "distributed/layout.h"

namespace lt2 {

/// SIGINT, SIGTERM or SIGUSR2 (catch_stop_signals) ended a wait for other ranks.
class MeetingStopped : public Error {
  using Error::Error;
};

class Waiting {
 public:
  /// With `all_are_there` a signal ends the wait only if it takes longer than such a wait should: the run is as good as
  /// begun and will see the signal, whereas the others would miss a rank that leaves now.
  Waiting(const ProcessLayout& layout, double timeout_s, bool all_are_there);
  /// Sleeps for a moment. After 5 s and then every minute says "waiting for WHOM at PLACE". Throws MeetingStopped at a
  /// signal, and lt2::Error once the time is over.
  void for_more_of(const std::string& whom);
  /// "stopped by signal ... while waiting for WHOM at PLACE", thrown.
  [[noreturn]] void stopped(const std::string& by, const std::string& whom) const;

 private:
  using Clock = std::chrono::steady_clock;
  std::string self_, place_;
  double timeout_s_, signals_after_s_;
  Clock::time_point begin_ = Clock::now();
  double next_word_s_ = 5;
  int pause_ms_ = 1;
};

}  // namespace lt2
