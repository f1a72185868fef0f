#pragma once
// A live line on a terminal, plain lines elsewhere.
#include <chrono>
#include <cstdint>
#include <string>

namespace lt2 {

/// True when stderr is a terminal that can rewrite a line (not TERM=dumb).
bool stderr_is_terminal();

/// Shows "[####------] 40 % step 120/300  loss 1.93  ...  0:41 left" on stderr. On a terminal one line is redrawn at most ten times a
/// second and cut to its width; elsewhere a plain line appears at every `plain_every`-th update and at the end. One bar at a time: log_line
/// clears and redraws it.
class ProgressBar {
 public:
  ProgressBar(std::string label, int64_t total, int64_t plain_every, int64_t start = 0);
  ~ProgressBar();  // ends the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  /// `done` of total, and what stands behind the bar ("loss 1.93  lr 3.0e-4").
  void update(int64_t done, const std::string& text);
  void finish();

 private:
  std::string line(int64_t done, const std::string& text, int width) const;
  std::string label_, text_;
  int64_t total_, plain_every_, start_, done_;
  std::chrono::steady_clock::time_point begin_, drawn_;
  bool terminal_, finished_ = false;
};

namespace detail {
void clear_progress_line();   // for log_line
void redraw_progress_line();
}  // namespace detail

}  // namespace lt2
