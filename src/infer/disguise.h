#pragma once
// Separates, in one text, what people wrote from what a template wrote.
//
// Before a template runs, characters of what people wrote are replaced one for one by private-use characters that occur
// neither in the template nor in any of the texts. A mark's name in the rendered text is then the template's own, and
// afterwards the characters are put back. Because one character replaces one, lengths, slices and positions do not
// change.
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tokenizer/literals.h"

namespace lt2 {

/// Names of marks and their ids.
using Marks = std::vector<std::pair<std::string, int32_t>>;

/// Finds marks, whatever the case of their letters.
class MarkNames {
 public:
  explicit MarkNames(Marks marks);
  const Marks& marks() const { return marks_; }
  /// As written.
  const LiteralFinder& finder() const { return finder_; }
  bool holds_character(uint32_t code) const { return characters_.count(code) > 0; }
  /// Characters of which each name holds one: its first sign, or else its first letter.
  bool guards(uint32_t code) const { return guards_.count(code) > 0; }
  /// The marks that a template can make of a part that it writes and a text that follows: a text of `source` ends
  /// within their names.
  std::vector<int32_t> begun_in(std::string_view source) const;
  /// Where characters of `text` must be replaced so that no change of case turns it into a name; with `edges` also so
  /// that no name appears where it meets another text. Offsets, ascending.
  std::vector<size_t> weak_points(std::string_view text, bool edges) const;

 private:
  Marks marks_;
  LiteralFinder finder_, folded_finder_;
  std::vector<std::string> folded_;
  std::unordered_set<uint32_t> characters_, guards_;  // that occur in a name
};

/// A text with marks.
struct MarkedText {
  struct Mark {
    size_t begin = 0, end = 0;
    int32_t id = -1;
    bool operator==(const Mark&) const = default;
  };
  std::string text;
  std::vector<Mark> marks;  // ascending
};

class Disguise {
 public:
  explicit Disguise(const MarkNames& names) : names_(names) {}
  /// Excludes the characters of `text` as covers. Call it before the first text is covered.
  void avoid(std::string_view text);
  /// `text`, well-formed UTF-8, with its weak points covered.
  std::string covered(std::string_view text, bool edges);
  /// The same, and every guard of a name, so that no part of the text becomes a name, whatever is removed from it.
  std::string covered_with_guards(std::string_view text, bool edges);
  /// The same as covered(), but covers every character that occurs in a name.
  std::string covered_whole(std::string_view text);
  /// A template's output for covered texts, with the covers taken off, and the template's own marks.
  MarkedText uncovered(std::string_view rendered) const;

 private:
  static constexpr uint32_t kFirst = 0xe000, kLast = 0xf8ff;  // of the private use area
  uint32_t cover_of(uint32_t code);
  /// `text` with every character covered for which `covers` says so.
  template <class Covers>
  std::string covered_where(std::string_view text, const Covers& covers);
  void append_uncovered(std::string_view part, std::string& out) const;

  const MarkNames& names_;
  std::array<bool, kLast - kFirst + 1> used_{};
  uint32_t next_ = kFirst;
  std::map<uint32_t, uint32_t> covers_, covered_;  // cover of a character; character of a cover
};

}  // namespace lt2
