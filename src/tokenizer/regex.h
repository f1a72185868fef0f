#pragma once
// Regular expressions of tokenizer.json files, through Oniguruma, which is what those files mean.
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct re_pattern_buffer;

namespace lt2 {

class Regex {
 public:
  /// `where` stands in errors. Throws lt2::Error if the pattern is malformed.
  Regex(const std::string& pattern, std::string where);

  /// Calls found(begin, end) for all matches, left to right, none inside another; an empty one directly behind a match
  /// does not count. Throws lt2::Error if a search backtracks beyond all measure. `text` is well-formed UTF-8.
  template <class Found>
  void each_match(std::string_view text, Found&& found) const {
    size_t from = 0, begin = 0, end = 0, last = std::string_view::npos;
    while (from <= text.size() && search(text, from, begin, end)) {
      if (begin == end && end == last) {
        from = next_character(text, end);
        continue;
      }
      found(begin, end);
      from = last = end;
    }
  }

 private:
  bool search(std::string_view text, size_t from, size_t& begin, size_t& end) const;
  static size_t next_character(std::string_view text, size_t at);

  std::string where_;
  std::shared_ptr<re_pattern_buffer> regex_;
};

}  // namespace lt2
