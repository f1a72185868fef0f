#pragma once
// A live line on a terminal, plain lines elsewhere.
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>

namespace lt2 {

/// True when stderr is a terminal that can rewrite a line (not TERM=dumb).
bool stderr_is_terminal();

/// Shows "[####------] 40 % step 120/300  loss 1.93  ...  0:41 left" on stderr. On a terminal one line is redrawn at
/// most ten times a second and cut to its width; elsewhere a plain line appears at every `plain_every`-th update (0: at
/// none) and at the end. One bar at a time; log_line prints above it. `total` 0: unknown, so neither share nor time
/// left. `start`: already done before.
class ProgressBar {
 public:
  ProgressBar(std::string label, int64_t total, int64_t plain_every, int64_t start = 0);
  ~ProgressBar();  // ends the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  /// `done` of total, and what follows the bar ("loss 1.93  lr 3.0e-4").
  void update(int64_t done, const std::string& text);
  void finish();

 private:
  struct Sample {
    std::chrono::steady_clock::time_point time;
    int64_t done;
  };
  double seconds_left() const;  // negative while unknown
  std::string line(int width) const;
  void draw();

  std::string label_, text_;
  int64_t total_, plain_every_, done_, updates_ = 0, printed_ = 0;
  std::chrono::steady_clock::time_point drawn_;
  std::deque<Sample> recent_;  // the speed over these is the speed now
  bool terminal_, finished_ = false;

  friend void print_above_progress_bar(const std::string& line);
};

/// Prints `line` and a newline to stderr, above the bar when one is shown. Thread-safe.
void print_above_progress_bar(const std::string& line);

}  // namespace lt2
