#include "tokenizer/literals.h"

#include <algorithm>

namespace lt2 {

void LiteralFinder::add(std::string_view text, int32_t number) {
  if (text.empty()) return;
  uint32_t at = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    auto& next = nodes_[at].next;
    const auto found = std::find_if(next.begin(), next.end(), [&](const auto& edge) { return edge.first == byte; });
    if (found != next.end()) {
      at = found->second;
      continue;
    }
    const auto fresh = static_cast<uint32_t>(nodes_.size());
    next.emplace_back(byte, fresh);
    if (i == 0) first_[byte] = fresh;
    nodes_.emplace_back();
    at = fresh;
  }
  if (nodes_[at].number < 0) nodes_[at].number = number;
}

LiteralFinder::Match LiteralFinder::longest_at(std::string_view text, size_t at) const {
  Match match{at, at, -1};
  uint32_t node = first_[static_cast<uint8_t>(text[at])];
  for (size_t end = at + 1; node != 0; ++end) {
    if (nodes_[node].number >= 0) match = {at, end, nodes_[node].number};
    if (end == text.size()) break;
    const auto byte = static_cast<uint8_t>(text[end]);
    const auto& next = nodes_[node].next;
    const auto edge = std::find_if(next.begin(), next.end(), [&](const auto& e) { return e.first == byte; });
    node = edge == next.end() ? 0 : edge->second;
  }
  return match;
}

LiteralFinder::Match LiteralFinder::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (first_[static_cast<uint8_t>(text[begin])] == 0) continue;
    if (const Match match = longest_at(text, begin); match.number >= 0) return match;
  }
  return {};
}

}  // namespace lt2
