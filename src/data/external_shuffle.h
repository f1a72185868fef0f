#pragma once
// A shuffle of more lines than fit in memory. The order is that of a hash of (seed, number of the line), so neither the
// memory nor the way the work is cut changes it.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>
#include <vector>

#include "data/append_files.h"

namespace lt2 {

/// Where line number `index` comes in the shuffle: lines are put out by ascending key. For one seed no two lines share
/// a key.
uint64_t shuffle_key(uint64_t seed, uint64_t index);

/// A file of the lines whose keys begin with the first `bits` bits of `prefix`, in the order they came.
struct ShuffleBucket {
  int bits = 0;
  uint64_t prefix = 0;  // in the leading bits; the others are 0
  uint64_t bytes = 0, lines = 0;
  bool operator==(const ShuffleBucket&) const = default;
};

/// Empty buckets in the order of their keys, as many as suit about `expected_bytes` of lines.
std::vector<ShuffleBucket> plan_buckets(uint64_t expected_bytes, uint64_t memory);

/// Puts lines into buckets that lie in `folder`.
class BucketWriter {
 public:
  /// `buckets` share a number of bits and follow each other; their files are cut to `bytes`.
  BucketWriter(const std::filesystem::path& folder, std::vector<ShuffleBucket> buckets, uint64_t memory);
  /// Throws lt2::Error when the disk is full.
  void add(uint64_t key, std::string_view line);
  /// What was added is on the disk.
  void sync() { files_.sync(); }
  const std::vector<ShuffleBucket>& buckets() const { return buckets_; }

 private:
  std::vector<ShuffleBucket> buckets_;
  AppendFiles files_;
  int shift_;  // key >> shift_ numbers the bucket, counted from that of the first one
  uint64_t first_;
};

std::filesystem::path bucket_path(const std::filesystem::path& folder, const ShuffleBucket& bucket);

/// Whether for_each_sorted can read it within `memory`. A bucket of one line always can.
bool bucket_fits(const ShuffleBucket& bucket, uint64_t memory);

/// Cuts a bucket that does not fit into smaller ones, which take its place in the order. Its file stays.
std::vector<ShuffleBucket> split_bucket(const std::filesystem::path& folder, const ShuffleBucket& bucket,
                                        uint64_t memory);

/// Calls use(line) for the lines of a bucket by ascending key. Throws lt2::Error if the file is not what was written.
void for_each_sorted(const std::filesystem::path& folder, const ShuffleBucket& bucket,
                     const std::function<void(std::string_view line)>& use);

/// Longest line that passes within `memory`: reading, checking and shuffling it take several times its length.
uint64_t longest_line(uint64_t memory);

}  // namespace lt2
