#pragma once
// The ids of words met before, for vocabularies where finding them takes merging.
#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

namespace lt2 {

/// Bounded: a slot keeps the word that came last. Thread-safe.
class WordCache {
 public:
  /// Appends the ids of `word` if they are known. `hash` is hash_bytes(word).
  bool find(std::string_view word, uint64_t hash, std::vector<int32_t>& ids) const;
  /// Words or lists of ids too long for a slot are not kept.
  void store(std::string_view word, uint64_t hash, const int32_t* ids, size_t count) const;

 private:
  static constexpr size_t kShards = 64, kSlots = 512, kBytes = 30, kIds = 8;  // 2 MB in all, once used
  struct Entry {
    uint8_t bytes = 0, count = 0;  // bytes 0: free
    std::array<char, kBytes> text;
    std::array<int32_t, kIds> ids;
  };
  struct Shard {
    std::mutex lock;
    std::vector<Entry> entries;  // empty until the first is stored
  };
  Shard& shard(uint64_t hash) const { return shards_[hash % kShards]; }
  static size_t slot(uint64_t hash) { return hash / kShards % kSlots; }

  mutable std::array<Shard, kShards> shards_;
};

}  // namespace lt2
