#include "tokenizer/string_table.h"

#include <algorithm>
#include <bit>

namespace lt2 {

bool StringTable::insert(std::string_view text, int32_t id) {
  const uint64_t hash = hash_bytes(text);
  if (find(text, hash) >= 0) return false;
  if (2 * (entries_.size() + 1) > slots_.size()) grow();
  entries_.push_back({texts_.size(), static_cast<uint32_t>(text.size()), id});
  texts_ += text;
  longest_ = std::max(longest_, text.size());
  place(hash, static_cast<uint32_t>(entries_.size()));
  return true;
}

void StringTable::place(uint64_t hash, uint32_t entry) {
  size_t i = hash & mask_;
  while (slots_[i].entry != 0) i = (i + 1) & mask_;
  slots_[i] = {static_cast<uint32_t>(hash >> 32), entry};
}

void StringTable::grow() {
  slots_.assign(slots_.size() * 2, {});
  mask_ = slots_.size() - 1;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const auto text = std::string_view(texts_).substr(entries_[i].begin, entries_[i].bytes);
    place(hash_bytes(text), static_cast<uint32_t>(i + 1));
  }
}

PairTable::PairTable(size_t pairs) : slots_(std::bit_ceil(2 * std::max<size_t>(pairs, 8))), mask_(slots_.size() - 1) {}

void PairTable::insert(int32_t left, int32_t right, Value value) {
  const uint64_t key = key_of(left, right);
  size_t i = start(key);
  while (slots_[i].key != kFree && slots_[i].key != key) i = (i + 1) & mask_;
  slots_[i] = {key, value};
}

}  // namespace lt2
