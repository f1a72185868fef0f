#pragma once
// What the work on one text may cost together, and the one place where it ends early.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lt2 {

/// The work on one text: while one lives, whatever this thread does with the text, even a million short searches,
/// counts in it. One inside another joins it.
class TextWork {
 public:
  /// `where` stands in errors and must outlive it; the text has `bytes`.
  TextWork(const std::string& where, size_t bytes);
  ~TextWork();
  TextWork(const TextWork&) = delete;
  TextWork& operator=(const TextWork&) = delete;

  /// Throws StoppedBySignal if a signal came (signals.h); looks for it every million steps, so short texts end as they
  /// are. A step takes some nanoseconds.
  void add(uint64_t steps) {
    steps_ += steps;
    if (steps_ > next_look_) look();
  }
  /// The one that this thread's work counts in; there must be one.
  static TextWork& current();
  /// Adds to it, if there is one.
  static void note(uint64_t steps);

 private:
  friend class RegexWork;
  void look();
  static constexpr uint64_t kBetweenLooks = uint64_t{1} << 20;

  const std::string& where_;
  size_t bytes_;
  bool joins_;
  uint64_t steps_ = 0, next_look_ = kBetweenLooks;
  uint64_t limited_steps_ = 0;  // of searches that share a limit
  int64_t limited_nanoseconds_ = 0;
};

/// The searches of one pattern through one text, or through a part of this thread's.
class RegexWork {
 public:
  /// `where` as in TextWork; at most `most` steps, and `tell` of them are to be told.
  RegexWork(const std::string& where, size_t bytes, uint64_t most, uint64_t tell = UINT64_MAX);
  /// With limits that all searches of the thread's text share: most_steps and most_nanoseconds of its bytes.
  RegexWork(const std::string& where, size_t bytes, uint64_t (*most_steps)(size_t),
            int64_t (*most_nanoseconds)(size_t));
  ~RegexWork();
  RegexWork(const RegexWork&) = delete;
  RegexWork& operator=(const RegexWork&) = delete;

  uint64_t steps() const { return steps_; }
  /// Throws lt2::Error once there are too many, and what TextWork::add does. True once, at the first step after `tell`.
  bool add(uint64_t steps) {
    steps_ += steps;
    return steps_ > pause_ && end_pause();
  }
  /// Of searches with limits: throws lt2::Error if too much time was taken; StoppedBySignal if a signal came, once they
  /// have taken long.
  void look();
  /// The error of all searches that are given up, thrown.
  [[noreturn]] void give_up(std::string_view why) const;

 private:
  RegexWork(const std::string& where, size_t bytes);
  void set_pause();
  bool end_pause();

  TextWork own_;  // joins the thread's, if there is one
  TextWork& text_;
  uint64_t most_ = UINT64_MAX, tell_ = UINT64_MAX, steps_ = 0, told_to_text_ = 0, pause_ = 0;
  bool limited_ = false;
  int64_t begin_ = 0, most_nanoseconds_ = 0;  // on the thread's clock
};

}  // namespace lt2
