#include "base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/units.h"

namespace lt2 {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kUnlimitedWidth = 0;
constexpr size_t kSamples = 32;

// Guards stderr and the bar shown on it. Never destroyed: other threads may log while the program ends.
std::mutex& screen() {
  static auto* mutex = new std::mutex;
  return *mutex;
}
ProgressBar* shown = nullptr;

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

int terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// The first `width` columns, whole UTF-8 characters only.
std::string cut(const std::string& text, size_t width) {
  size_t columns = 0, end = 0;
  for (; end < text.size(); ++end) {
    const bool starts_character = (static_cast<unsigned char>(text[end]) & 0xc0) != 0x80;
    if (starts_character && columns++ == width) break;
  }
  return text.substr(0, end);
}

std::string drawn_bar(double share) {
  const auto filled = static_cast<size_t>(share * 10);
  return "[" + std::string(filled, '#') + std::string(10 - filled, '-') + "]";
}

}  // namespace

bool stderr_is_terminal() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) && kind && *kind && std::string(kind) != "dumb";
}

ProgressBar::ProgressBar(std::string label, int64_t total, int64_t plain_every, int64_t start)
    : label_(std::move(label)),
      total_(total),
      plain_every_(plain_every),
      done_(start),
      terminal_(stderr_is_terminal()) {
  recent_.push_back({steady_clock::now(), start});
  const std::lock_guard lock(screen());
  if (!shown) shown = this;
}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::update(int64_t done, const std::string& text) {
  const std::lock_guard lock(screen());
  if (finished_) return;
  const auto now = steady_clock::now();
  done_ = done;
  text_ = text;
  ++updates_;
  // Half a second a sample at least: 32 of them are the last 16 s of quick steps, or the last 32 slow steps.
  if (now - recent_.back().time >= milliseconds(500)) recent_.push_back({now, done});
  if (recent_.size() > kSamples) recent_.pop_front();
  if (terminal_) {
    if (now - drawn_ >= milliseconds(100)) draw();
  } else if (plain_every_ > 0 && updates_ % plain_every_ == 0) {
    draw();
  }
}

void ProgressBar::finish() {
  const std::lock_guard lock(screen());
  if (finished_) return;
  if (terminal_ ? updates_ > 0 : updates_ > printed_) draw();
  if (terminal_ && printed_ > 0 && shown == this) print("\n");
  finished_ = true;
  if (shown == this) shown = nullptr;
}

double ProgressBar::seconds_left() const {
  const Sample& first = recent_.front();
  const double seconds = std::chrono::duration<double>(steady_clock::now() - first.time).count();
  const auto steps = static_cast<double>(done_ - first.done);
  return total_ > 0 && steps > 0 ? static_cast<double>(std::max<int64_t>(0, total_ - done_)) * seconds / steps : -1;
}

std::string ProgressBar::line(int width) const {
  const double share = total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0) : 0;
  std::string front, back;
  if (total_ > 0) {
    if (terminal_) front = drawn_bar(share) + " ";
    front += fmt::format("{} % {} {}/{}", static_cast<int>(share * 100), label_, done_, total_);
  } else {
    front = fmt::format("{} {}", label_, done_);
  }
  const double left = seconds_left();
  if (left >= 0 && done_ < total_)
    // Tenths of a second would only flicker.
    back =
        left < 59.5 ? fmt::format("  0:{:02} left", std::lround(left)) : fmt::format("  {} left", human_duration(left));
  const std::string text = text_.empty() ? "" : "  " + text_;
  if (width == kUnlimitedWidth) return front + text + back;
  // The text gives way first.
  const auto columns = static_cast<size_t>(width);
  const size_t fixed = front.size() + back.size();
  return cut(front + (fixed < columns ? cut(text, columns - fixed) : "") + back, columns);
}

void ProgressBar::draw() {
  drawn_ = steady_clock::now();
  printed_ = updates_;
  if (!terminal_) return print(line(kUnlimitedWidth) + "\n");
  // One column stays free: writing in the last makes some terminals wrap.
  if (shown == this) print("\r\033[K" + line(std::max(1, terminal_width() - 1)));
}

void print_above_progress_bar(const std::string& line) {
  const std::lock_guard lock(screen());
  const bool bar = shown && shown->terminal_ && shown->printed_ > 0;
  print((bar ? "\r\033[K" : "") + line + "\n");
  if (bar) shown->draw();
}

}  // namespace lt2
