#include "data/external_shuffle.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class ExternalShuffle : public ::testing::Test {
 protected:
  ExternalShuffle() { fs::create_directories(folder_); }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path(), folder_ = root_ / "buckets";
};

// Rank correlation of index and key, and equal shares of 64 key ranges: 5 sigma.
TEST(ShuffleKey, LooksRandomAndNeverRepeats) {
  constexpr size_t kLines = 1 << 16;
  for (const uint64_t seed : {0ULL, 1ULL, 42ULL, ~0ULL}) {
    std::vector<uint64_t> keys;
    std::vector<int> shares(64);
    double mean_product = 0;
    for (size_t i = 0; i < kLines; ++i) {
      keys.push_back(shuffle_key(seed, i));
      ++shares[keys[i] >> 58];
      mean_product += (static_cast<double>(keys[i]) * 0x1p-64 - 0.5) * (static_cast<double>(i) / kLines - 0.5) / kLines;
    }
    EXPECT_LT(std::abs(mean_product), 5.0 / 12 / 256);
    for (const int share : shares) EXPECT_NEAR(share, 1024, 5 * 32);
    std::sort(keys.begin(), keys.end());
    EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end());
  }
  EXPECT_NE(shuffle_key(1, 5) - shuffle_key(1, 4), shuffle_key(2, 5) - shuffle_key(2, 4));
}

TEST(ShuffleBuckets, ThePlanCoversAllKeysWithoutOverlap) {
  EXPECT_EQ(plan_buckets(0, 1 << 20).size(), 1u);
  EXPECT_EQ(plan_buckets(0, 1 << 20)[0].bits, 0);
  for (const uint64_t memory : {uint64_t{64} << 10, uint64_t{1} << 26, uint64_t{1} << 40}) {
    const auto buckets = plan_buckets(uint64_t{10} << 30, memory);
    EXPECT_LE(buckets.size(), 256u);
    for (size_t i = 0; i < buckets.size(); ++i) {
      ASSERT_EQ(buckets.size(), size_t{1} << buckets[i].bits);
      EXPECT_EQ(buckets[i].prefix, buckets[i].bits == 0 ? 0 : i << (64 - buckets[i].bits));
    }
  }
}

TEST_F(ExternalShuffle, ASplitKeepsTheOrder) {
  constexpr uint64_t kMemory = 64 << 10;
  const auto line = [](uint64_t i) { return fmt::format("{}:{}", i, std::string(i % 3000, 'x')); };
  BucketWriter writer(folder_, {ShuffleBucket{}}, kMemory);
  for (uint64_t i = 0; i < 500; ++i) writer.add(shuffle_key(7, i), line(i));
  writer.sync();
  std::vector<ShuffleBucket> todo = writer.buckets();
  ASSERT_EQ(todo.size(), 1u);
  EXPECT_EQ(todo[0].bytes, fs::file_size(bucket_path(folder_, todo[0])));
  std::vector<std::string> whole, split;
  for_each_sorted(folder_, todo[0], [&](std::string_view text) { whole.emplace_back(text); });
  for (int splits = 0; !todo.empty();) {
    if (!bucket_fits(todo.front(), kMemory)) {
      const auto parts = split_bucket(folder_, todo.front(), kMemory);
      ASSERT_GE(parts.size(), 2u);
      todo.erase(todo.begin());
      todo.insert(todo.begin(), parts.begin(), parts.end());
      ASSERT_LT(++splits, 100);
      continue;
    }
    for_each_sorted(folder_, todo.front(), [&](std::string_view text) { split.emplace_back(text); });
    todo.erase(todo.begin());
  }
  ASSERT_EQ(whole.size(), 500u);
  EXPECT_EQ(split, whole);
  std::vector<uint64_t> order(500);
  for (uint64_t i = 0; i < 500; ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [](uint64_t a, uint64_t b) { return shuffle_key(7, a) < shuffle_key(7, b); });
  for (size_t i = 0; i < 500; ++i) EXPECT_EQ(whole[i], line(order[i]));
}

TEST_F(ExternalShuffle, DamagedBucketsAreErrors) {
  BucketWriter writer(folder_, {ShuffleBucket{}}, 1 << 20);
  for (uint64_t i = 0; i < 2000; ++i) writer.add(shuffle_key(7, i), std::string(100, 'x'));
  writer.sync();
  const ShuffleBucket bucket = writer.buckets()[0];
  const fs::path path = bucket_path(folder_, bucket);
  const std::string content = read_file(path);
  const auto message = [&](const auto& call) -> std::string { return test::error_of([&] { call(); }); };
  const std::string expected = fmt::format(
      "{}: not what was written to it: the file is damaged. Remove {} and start again", path.string(), root_.string());
  const auto check = [&](const std::string& bytes, const ShuffleBucket& read) {
    std::ofstream(path, std::ios::binary) << bytes;
    EXPECT_EQ(message([&] { for_each_sorted(folder_, read, [](std::string_view) {}); }), expected);
    EXPECT_EQ(message([&] { split_bucket(folder_, read, 64 << 10); }), expected);
  };
  check(content.substr(0, content.size() - 1), bucket);
  check(std::string(), bucket);
  std::string lengths = content;
  lengths.replace(8, 4, "\xff\xff\xff\xff");
  check(lengths, bucket);
  lengths.replace(8, 4, std::string("\x65\0\0\0", 4));
  check(lengths, bucket);
  std::ofstream(path, std::ios::binary) << content;
  ShuffleBucket more = bucket;
  ++more.lines;
  EXPECT_EQ(message([&] { for_each_sorted(folder_, more, [](std::string_view) {}); }), expected);
}

TEST_F(ExternalShuffle, AppendFilesForgetWhatWasBehindTheirSize) {
  const std::vector<fs::path> paths = {folder_ / "a", folder_ / "b"};
  {
    AppendFiles files(paths, {0, 0}, 4096);
    files.append(0, "one");
    files.append(1, std::string(100000, 'x'));
    files.sync();
    files.append(0, "lost");
    files.flush();
    files.append(1, "never written");
  }
  EXPECT_EQ(read_file(paths[0]), "onelost");
  {
    AppendFiles files(paths, {3, 50000}, 4096);
    files.append(0, " two");
    files.flush();
    EXPECT_EQ(files.sizes(), (std::vector<uint64_t>{7, 50000}));
  }
  EXPECT_EQ(read_file(paths[0]), "one two");
  EXPECT_EQ(fs::file_size(paths[1]), 50000u);
  EXPECT_THROW(AppendFiles(paths, {8, 0}, 4096), Error);
  EXPECT_THROW(AppendFiles({root_ / "none" / "a"}, {0}, 4096), Error);
}

}  // namespace
}  // namespace lt2
