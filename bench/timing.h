#pragma once
// How the benchmarks time: what is compared takes turns, times are medians, ratios the medians of pairs
// (base/statistics.h). A figure that is noisy has a ~ before it.
#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/statistics.h"
#include "base/units.h"

namespace lt2 {

class Turns {
 public:
  /// Every run once to warm up, then in turns: at most `seconds` for each, half of them if nothing is noisy. Of several
  /// each waits until the threads of the one before it sleep, and wakes its own by a run that does not count.
  explicit Turns(const std::vector<std::function<void()>>& runs, double seconds = 1, size_t least = 5) {
    static constexpr auto kAsleep = std::chrono::milliseconds(5);  // more than ours and OpenMP's spin for work
    const bool several = runs.size() > 1;
    std::vector<TimedRun> timed;
    for (const auto& run : runs) {
      run();
      timed.push_back([&run, several] {
        if (several) {
          std::this_thread::sleep_for(kAsleep);
          run();
        }
        const auto begin = std::chrono::steady_clock::now();
        run();
        return seconds_since(begin);
      });
    }
    seconds_ = run_in_turns(timed, {.seconds = seconds * static_cast<double>(runs.size()), .least = least});
  }
  Spread seconds(size_t i = 0) const { return spread_of(seconds_[i]); }
  /// How many times longer run `i` takes than run `than`.
  Spread ratio(size_t i, size_t than = 0) const { return paired_ratio(seconds_[i], seconds_[than]); }

 private:
  std::vector<std::vector<double>> seconds_;  // [run][round]
};

/// Median times `factor`: "12.3", "~12.3" if noisy.
inline std::string figure(const Spread& spread, double factor = 1, int digits = 1) {
  return fmt::format("{}{:.{}f}", spread.noisy() ? "~" : "", factor * spread.median, digits);
}
/// `of` over the median, in percent: the share of a floor.
inline std::string share(double of, const Spread& seconds, int digits = 0) {
  return fmt::format("{}{:.{}f}", seconds.noisy() ? "~" : "", 100 * of / seconds.median, digits);
}

}  // namespace lt2
