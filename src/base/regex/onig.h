#pragma once
// Oniguruma, as every pattern here means it: Ruby's syntax, UTF-8. (Its own header, like the system's <regex.h>,
// defines re_registers; so it stays out of ours.)
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/regex/work.h"

struct re_pattern_buffer;

namespace lt2 {

using OnigPattern = std::shared_ptr<re_pattern_buffer>;

/// `where` stands in errors. Throws lt2::Error if the pattern is malformed or too long.
OnigPattern compile_onig(const std::string& pattern, const std::string& where);

/// Whether `atom`, the pattern of one character, also matches several that are one to it when case is ignored, as
/// (?i:[\w]) does "ss".
bool matches_several(const std::string& atom);

/// Searches of one text by Oniguruma. It can be told how many steps back one call may take, and choices keep, but not
/// asked how many it took; so calls begin with few, go on with more, and count for as many as they were given. What it
/// scans without a choice counts for nothing, so there is a limit on time, too.
class OnigSearch {
 public:
  /// `begins_anywhere`: where a search begins says nothing about what matches after it, as \G would. `where` stands in
  /// errors; it and the text must outlive it.
  OnigSearch(OnigPattern pattern, bool begins_anywhere, std::string_view text, const std::string& where);
  ~OnigSearch();
  OnigSearch(const OnigSearch&) = delete;
  OnigSearch& operator=(const OnigSearch&) = delete;

  /// The first match at or after `from`. Throws lt2::Error if one start takes more than a million steps back, or
  /// choices kept at a time, or all searches together more than a text of this length should; StoppedBySignal.
  bool search(size_t from, size_t& begin, size_t& end);

 private:
  struct Memory;

  int try_from(size_t from, uint64_t most_steps);
  int try_at(size_t at);
  void allow(uint64_t steps);

  OnigPattern pattern_;
  std::string_view text_;
  bool begins_anywhere_;
  uint64_t calls_ = 0, allowed_ = 0;
  std::unique_ptr<Memory> memory_;
  RegexWork work_;
};

}  // namespace lt2
