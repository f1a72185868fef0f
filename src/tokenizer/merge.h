#pragma once
// Byte-pair merging: again and again the adjacent pair of lowest rank, the leftmost of equals, becomes one symbol.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "tokenizer/string_table.h"

namespace lt2 {

struct Symbol {
  uint32_t begin, end;  // which of the first symbols it is made of
  int32_t id;
};

namespace merge_detail {

using Value = PairTable::Value;
inline constexpr uint32_t kNone = UINT32_MAX;
inline constexpr size_t kShort = 48;  // up to here looking through all pairs beats a heap

template <class Lookup>
void merge_short(std::vector<Symbol>& symbols, const Lookup& lookup) {
  Value pairs[kShort];
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = lookup(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (pairs[i].rank < pairs[best].rank) best = i;
    if (pairs[best].rank == kNone) break;
    symbols[best] = {symbols[best].begin, symbols[best + 1].end, pairs[best].id};
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      pairs[i - 1] = pairs[i];
    }
    if (best > 0) pairs[best - 1] = lookup(symbols[best - 1], symbols[best]);
    if (best + 1 < count) pairs[best] = lookup(symbols[best], symbols[best + 1]);
  }
  symbols.resize(count);
}

template <class Lookup>
void merge_long(std::vector<Symbol>& symbols, const Lookup& lookup) {
  // An entry is out of date once either symbol has changed, which its borders show.
  struct Pair {
    uint32_t rank, left, middle, end;
    int32_t id;
    bool operator<(const Pair& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  const auto count = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> before(count), after(count);
  std::vector<Pair> heap;
  heap.reserve(count);
  const auto look = [&](uint32_t left, uint32_t right) {
    const Value value = lookup(symbols[left], symbols[right]);
    if (value.rank == kNone) return false;
    heap.push_back({value.rank, left, symbols[left].end, symbols[right].end, value.id});
    return true;
  };
  for (uint32_t i = 0; i < count; ++i) {
    before[i] = i - 1;  // wraps for the first, which is never followed
    after[i] = i + 1;
    if (i + 1 < count) look(i, i + 1);
  }
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Pair pair = heap.back();
    heap.pop_back();
    const uint32_t left = pair.left, right = after[left];
    if (symbols[left].end != pair.middle || right == count || symbols[right].end != pair.end) continue;
    symbols[left] = {symbols[left].begin, pair.end, pair.id};
    symbols[right].end = 0;  // gone; no border is 0
    after[left] = after[right];
    if (after[left] < count) before[after[left]] = left;
    if (left > 0 && look(before[left], left)) std::push_heap(heap.begin(), heap.end());
    if (after[left] < count && look(left, after[left])) std::push_heap(heap.begin(), heap.end());
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.end == 0; });
}

}  // namespace merge_detail

/// Merges in place. `lookup(left, right)` gives rank and id of a pair (PairTable::Value). n log n.
template <class Lookup>
void merge_symbols(std::vector<Symbol>& symbols, const Lookup& lookup) {
  if (symbols.size() <= merge_detail::kShort) {
    merge_detail::merge_short(symbols, lookup);
  } else {
    merge_detail::merge_long(symbols, lookup);
  }
}

}  // namespace lt2
