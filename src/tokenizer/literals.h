#pragma once
// Finding any of a set of strings in a text: leftmost, of those the longest.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lt2 {

class LiteralFinder {
 public:
  /// `number` is what find() answers with; empty strings are ignored, of equal strings the first counts.
  void add(std::string_view text, int32_t number);

  struct Match {
    size_t begin = 0, end = 0;
    int32_t number = -1;  // -1: nothing found
  };
  /// The next match at or after `from`.
  Match find(std::string_view text, size_t from) const;
  /// Length of the longest that stands at `at`, 0 if none does.
  size_t match_at(std::string_view text, size_t at) const { return longest_at(text, at).end - at; }
  bool empty() const { return nodes_.size() == 1; }

 private:
  Match longest_at(std::string_view text, size_t at) const;  // end == begin: none
  struct Node {
    int32_t number = -1;
    std::vector<std::pair<uint8_t, uint32_t>> next;  // few: specials share long prefixes
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<uint32_t, 256> first_{};  // node after a first byte, 0: none
};

}  // namespace lt2
