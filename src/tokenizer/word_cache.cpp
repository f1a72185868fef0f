#include "tokenizer/word_cache.h"

#include <algorithm>
#include <cstring>

namespace lt2 {

bool WordCache::find(std::string_view word, uint64_t hash, std::vector<int32_t>& ids) const {
  if (word.empty() || word.size() > kBytes) return false;
  Shard& of = shard(hash);
  const std::lock_guard lock(of.lock);
  if (of.entries.empty()) return false;
  const Entry& entry = of.entries[slot(hash)];
  if (entry.bytes != word.size() || std::memcmp(entry.text.data(), word.data(), word.size()) != 0) return false;
  ids.insert(ids.end(), entry.ids.begin(), entry.ids.begin() + entry.count);
  return true;
}

void WordCache::store(std::string_view word, uint64_t hash, const int32_t* ids, size_t count) const {
  if (word.empty() || word.size() > kBytes || count > kIds) return;
  Shard& of = shard(hash);
  const std::lock_guard lock(of.lock);
  if (of.entries.empty()) of.entries.resize(kSlots);
  Entry& entry = of.entries[slot(hash)];
  entry.bytes = static_cast<uint8_t>(word.size());
  entry.count = static_cast<uint8_t>(count);
  std::memcpy(entry.text.data(), word.data(), word.size());
  std::copy(ids, ids + count, entry.ids.begin());
}

}  // namespace lt2
