#pragma once
// Strings of bytes to ids: open addressing, one allocation for all texts, two cache misses a lookup.
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace lt2 {

inline uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kFactor = 0x9e3779b97f4a7c15;
  const char* at = bytes.data();
  size_t left = bytes.size();
  uint64_t hash = left * kFactor, word = 0;
  const auto mix = [&] {
    hash = (hash ^ word) * kFactor;
    hash ^= hash >> 29;
  };
  for (; left >= 8; left -= 8, at += 8) {
    std::memcpy(&word, at, 8);
    mix();
  }
  if (left > 0) {
    word = 0;
    std::memcpy(&word, at, left);
    mix();
  }
  return hash ^ hash >> 32;
}

class StringTable {
 public:
  StringTable() : slots_(16) {}

  /// False if the string is there already; it then keeps its id.
  bool insert(std::string_view text, int32_t id);
  /// The id, or -1.
  int32_t find(std::string_view text) const { return find(text, hash_bytes(text)); }
  int32_t find(std::string_view text, uint64_t hash) const {
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.entry == 0) return -1;
      if (slot.hash != static_cast<uint32_t>(hash >> 32)) continue;
      const Entry& entry = entries_[slot.entry - 1];
      if (entry.bytes == text.size() && std::memcmp(texts_.data() + entry.begin, text.data(), text.size()) == 0)
        return entry.id;
    }
  }
  size_t size() const { return entries_.size(); }
  size_t longest() const { return longest_; }

 private:
  struct Slot {
    uint32_t hash = 0, entry = 0;  // entry 0: free
  };
  struct Entry {
    uint64_t begin;
    uint32_t bytes;
    int32_t id;
  };
  void place(uint64_t hash, uint32_t entry);
  void grow();

  std::vector<Slot> slots_;
  std::vector<Entry> entries_;
  std::string texts_;
  size_t mask_ = 15, longest_ = 0;
};

/// Pairs of ids to what they merge to.
class PairTable {
 public:
  struct Value {
    uint32_t rank = UINT32_MAX;
    int32_t id = -1;
  };
  /// Makes room for `pairs` insertions.
  explicit PairTable(size_t pairs = 0);
  /// A pair given again takes the new value.
  void insert(int32_t left, int32_t right, Value value);
  /// rank UINT32_MAX: no such pair.
  Value find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t i = start(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return slots_[i].value;
      if (slots_[i].key == kFree) return {};
    }
  }

 private:
  struct Slot {
    uint64_t key = kFree;
    Value value;
  };
  static constexpr uint64_t kFree = UINT64_MAX;  // ids are not negative
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t start(uint64_t key) const { return (key * 0x9e3779b97f4a7c15 >> 32) & mask_; }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace lt2
