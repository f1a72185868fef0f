#pragma once
// The regular expressions of the program, of tokenizer.json files and of configurations: Oniguruma's, in Ruby's syntax,
// which is what tokenizer.json files mean.
//
// Patterns of the parts that published ones use (program.h) take steps in proportion to the text, whatever it holds;
// how many each byte takes, and how much memory a long match, is a matter of the pattern. Others, with references to
// groups for example, are searched by Oniguruma itself, within limits on the steps back and the time that all searches
// of one text take. Searches that take long end at a signal (signals.h).
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/regex/matcher.h"
#include "base/regex/onig.h"

namespace lt2 {

/// Calls found(begin, end) as Regex::each_match does, for RegexMatcher and the like.
template <class Searches, class Found>
void each_match_of(Searches& searches, size_t bytes, Found&& found) {
  size_t from = 0, begin = 0, end = 0, last = std::string_view::npos;
  while (from <= bytes && searches.search(from, begin, end)) {
    if (begin == end && end == last) {
      ++from;
      continue;
    }
    found(begin, end);
    from = last = end;
  }
}

class Regex {
 public:
  /// `where` stands in errors. Throws lt2::Error if the pattern is malformed.
  Regex(const std::string& pattern, std::string where);
  /// The same, every search left to Oniguruma: what tests compare with.
  static Regex by_oniguruma(const std::string& pattern, std::string where);

  /// Calls found(begin, end) for all matches, left to right, none inside another; an empty one directly after a match
  /// does not count. `text` is well-formed UTF-8. Throws lt2::Error if that goes beyond the limits on steps and memory,
  /// and StoppedBySignal.
  template <class Found>
  void each_match(std::string_view text, Found&& found) const {
    Search search(*this, text);
    each_match_of(search, text.size(), found);
  }

  /// Whether it matches anywhere in the text.
  bool found_in(std::string_view text) const {
    size_t begin = 0, end = 0;
    return Search(*this, text).search(0, begin, end);
  }

  /// Whether all searches of a text together take steps in proportion to it.
  bool is_linear() const { return program_ != nullptr; }

 private:
  class Search {
   public:
    Search(const Regex& regex, std::string_view text);
    /// The first match at or after `from`, or after the character that `from` lies in.
    bool search(size_t from, size_t& begin, size_t& end);

   private:
    std::optional<RegexMatcher> linear_;
    std::optional<OnigSearch> onig_;
  };

  std::string where_;
  bool begins_anywhere_;  // no \G
  OnigPattern onig_;
  std::shared_ptr<const RegexProgram> program_;
};

}  // namespace lt2
