#pragma once
// Oniguruma, as every pattern here means it: Ruby's syntax, UTF-8. (Its own header, like the system's <regex.h>,
// defines re_registers; so it stays out of ours.)
#include <memory>
#include <string>
#include <string_view>

struct re_pattern_buffer;

namespace lt2 {

using OnigPattern = std::shared_ptr<re_pattern_buffer>;

/// `where` stands in errors. Throws lt2::Error if the pattern is malformed or too long.
OnigPattern compile_onig(const std::string& pattern, const std::string& where);

/// Searches of one text by Oniguruma.
class OnigSearch {
 public:
  OnigSearch(OnigPattern pattern, std::string_view text, const std::string& where);
  ~OnigSearch();
  OnigSearch(const OnigSearch&) = delete;
  OnigSearch& operator=(const OnigSearch&) = delete;

  /// The first match at or behind `from`. Throws lt2::Error if it takes more than a million steps back, or choices kept
  /// at a time.
  bool search(size_t from, size_t& begin, size_t& end);

 private:
  struct Memory;
  OnigPattern pattern_;
  std::string_view text_;
  const std::string& where_;
  std::unique_ptr<Memory> memory_;
};

}  // namespace lt2
