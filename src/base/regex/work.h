#pragma once
// What the searches of one text may cost together, and the one place where they end early.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lt2 {

class RegexWork {
 public:
  /// `where` stands in errors and must outlive it; of a text of `bytes`, at most `most` steps, and `tell` of them are
  /// to be told.
  RegexWork(const std::string& where, size_t bytes, uint64_t most, uint64_t tell = UINT64_MAX);

  uint64_t steps() const { return steps_; }
  /// Throws lt2::Error once there are too many. Looks for a signal every million steps: short texts end as they are.
  /// True once, at the first step behind `tell`.
  bool add(uint64_t steps) {
    steps_ += steps;
    return steps_ > pause_ && end_pause();
  }
  /// Throws StoppedBySignal if a signal came (signals.h), and lt2::Error if there were too many steps.
  void look();
  /// The error of all searches that are given up, thrown.
  [[noreturn]] void give_up(std::string_view why) const;

 private:
  static constexpr uint64_t kBetweenLooks = uint64_t{1} << 20;

  bool end_pause();

  const std::string& where_;
  size_t bytes_;
  uint64_t most_, tell_, steps_ = 0, next_look_ = kBetweenLooks;
  uint64_t pause_;  // up to here there is nothing to do
};

}  // namespace lt2
