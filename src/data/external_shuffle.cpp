#include "data/external_shuffle.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/files.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

// What stands in front of a line in a bucket's file.
struct Header {
  uint64_t key;
  uint32_t length;
};
constexpr size_t kHeaderBytes = sizeof(uint64_t) + sizeof(uint32_t);

struct Entry {
  uint64_t key, at;  // at: of the header in the bucket
};

// The parts of the memory limit. Reading needs its write buffers, a decompressor's window (a quarter) and several
// copies of a long line; dealing needs a bucket and write buffers.
uint64_t buffer_memory(uint64_t memory) { return memory / 8; }
uint64_t bucket_memory(uint64_t memory) { return memory / 4 * 3; }

Header header_at(const char* at) {
  Header header{};
  std::memcpy(&header.key, at, sizeof header.key);
  std::memcpy(&header.length, at + sizeof header.key, sizeof header.length);
  return header;
}

// The finisher of SplitMix64: a bijection of 64 bits.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

class BucketFile {
 public:
  BucketFile(const fs::path& folder, const ShuffleBucket& bucket)
      : path_(bucket_path(folder, bucket)), left_(bucket.bytes), file_(open_regular(path_)) {}

  void read(char* to, uint64_t bytes) {
    if (bytes > left_) damaged();
    left_ -= bytes;
    while (bytes > 0) {
      const ssize_t got = ::read(file_, to, bytes);
      if (got < 0 && errno == EINTR) continue;
      LT2_CHECK(got >= 0, "{}: cannot read: {}", path_.string(), std::system_category().message(errno));
      if (got == 0) damaged();
      to += got;
      bytes -= static_cast<uint64_t>(got);
    }
  }
  uint64_t left() const { return left_; }
  [[noreturn]] void damaged() const {
    fail("{}: not what was written to it: the file is damaged. Remove {} and start again", path_.string(),
         path_.parent_path().parent_path().string());
  }

 private:
  fs::path path_;
  uint64_t left_;
  Descriptor file_;
};

std::vector<ShuffleBucket> cut(const ShuffleBucket& whole, uint64_t bytes, uint64_t memory) {
  // Half full on average: lines differ in length. Below 32 KiB a bucket's write buffer would be too small to be quick.
  const uint64_t wanted = bytes / std::max<uint64_t>(1, bucket_memory(memory) / 2) + 1;
  const uint64_t most = std::clamp<uint64_t>(buffer_memory(memory) >> 15, 2, 256);
  const int more = std::bit_width(std::bit_ceil(std::min(wanted, std::bit_floor(most)))) - 1;
  std::vector<ShuffleBucket> buckets;
  const int bits = std::min(64, whole.bits + more);
  for (uint64_t i = 0; i < uint64_t{1} << (bits - whole.bits); ++i)
    buckets.push_back({.bits = bits, .prefix = bits == 0 ? 0 : whole.prefix | i << (64 - bits)});
  return buckets;
}

std::vector<fs::path> paths_of(const fs::path& folder, const std::vector<ShuffleBucket>& buckets) {
  std::vector<fs::path> paths;
  for (const auto& bucket : buckets) paths.push_back(bucket_path(folder, bucket));
  return paths;
}

std::vector<uint64_t> sizes_of(const std::vector<ShuffleBucket>& buckets) {
  std::vector<uint64_t> sizes;
  for (const auto& bucket : buckets) sizes.push_back(bucket.bytes);
  return sizes;
}

}  // namespace

uint64_t shuffle_key(uint64_t seed, uint64_t index) {
  // Each step is a bijection of the index for a given seed; the step of the counter is that of SplitMix64.
  return mixed(mixed((index + 1) * 0x9e3779b97f4a7c15ULL + mixed(seed)) ^ mixed(~seed));
}

uint64_t longest_line(uint64_t memory) { return std::min<uint64_t>(memory / 8, UINT32_MAX); }

std::vector<ShuffleBucket> plan_buckets(uint64_t expected_bytes, uint64_t memory) {
  return cut({}, expected_bytes, memory);
}

fs::path bucket_path(const fs::path& folder, const ShuffleBucket& bucket) {
  return folder / fmt::format("{:016x}.{}", bucket.prefix, bucket.bits);
}

BucketWriter::BucketWriter(const fs::path& folder, std::vector<ShuffleBucket> buckets, uint64_t memory)
    : buckets_(std::move(buckets)),
      files_(paths_of(folder, buckets_), sizes_of(buckets_), buffer_memory(memory)),
      shift_(64 - buckets_.front().bits),
      first_(shift_ == 64 ? 0 : buckets_.front().prefix >> shift_) {}

void BucketWriter::add(uint64_t key, std::string_view line) {
  const size_t number = shift_ == 64 ? 0 : static_cast<size_t>((key >> shift_) - first_);
  const auto length = static_cast<uint32_t>(line.size());
  char header[kHeaderBytes];
  std::memcpy(header, &key, sizeof key);
  std::memcpy(header + sizeof key, &length, sizeof length);
  files_.append(number, {header, kHeaderBytes});
  files_.append(number, line);
  buckets_[number].bytes += kHeaderBytes + line.size();
  ++buckets_[number].lines;
}

bool bucket_fits(const ShuffleBucket& bucket, uint64_t memory) {
  return bucket.lines <= 1 || bucket.bytes + bucket.lines * sizeof(Entry) <= bucket_memory(memory);
}

std::vector<ShuffleBucket> split_bucket(const fs::path& folder, const ShuffleBucket& bucket, uint64_t memory) {
  // At least in two, or nothing would change.
  const uint64_t bytes = std::max(bucket.bytes, bucket_memory(memory));
  BucketFile file(folder, bucket);
  if (bucket.bits == 64) file.damaged();  // there is one line of a key
  BucketWriter writer(folder, cut(bucket, bytes, memory), memory);
  std::vector<char> block(std::max<uint64_t>(std::min<uint64_t>(memory / 16, 1 << 20), kHeaderBytes));
  size_t begin = 0, end = 0;
  // At least `bytes` from `begin` on, or the file is damaged.
  const auto need = [&](size_t count) {
    if (end - begin >= count) return;
    std::memmove(block.data(), block.data() + begin, end - begin);
    end -= begin;
    begin = 0;
    if (block.size() < count) block.resize(count);
    const auto more = std::min<uint64_t>(block.size() - end, file.left());
    if (end + more < count) file.damaged();
    file.read(block.data() + end, more);
    end += more;
  };
  while (end > begin || file.left() > 0) {
    need(kHeaderBytes);
    const Header header = header_at(block.data() + begin);
    if (header.length > bucket.bytes) file.damaged();
    need(kHeaderBytes + header.length);
    const bool belongs = bucket.bits == 0 || (header.key ^ bucket.prefix) >> (64 - bucket.bits) == 0;
    if (!belongs) file.damaged();
    writer.add(header.key, {block.data() + begin + kHeaderBytes, header.length});
    begin += kHeaderBytes + header.length;
  }
  writer.sync();
  return writer.buckets();
}

void for_each_sorted(const fs::path& folder, const ShuffleBucket& bucket,
                     const std::function<void(std::string_view line)>& use) {
  BucketFile file(folder, bucket);
  const auto bytes = std::make_unique_for_overwrite<char[]>(bucket.bytes);
  file.read(bytes.get(), bucket.bytes);
  std::vector<Entry> entries;
  entries.reserve(bucket.lines);
  for (uint64_t at = 0; at < bucket.bytes;) {
    if (bucket.bytes - at < kHeaderBytes || entries.size() == bucket.lines) file.damaged();
    const Header header = header_at(bytes.get() + at);
    if (bucket.bytes - at - kHeaderBytes < header.length) file.damaged();
    entries.push_back({header.key, at});
    at += kHeaderBytes + header.length;
  }
  if (entries.size() != bucket.lines) file.damaged();
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; });
  for (const Entry& entry : entries) {
    const char* at = bytes.get() + entry.at;
    use({at + kHeaderBytes, header_at(at).length});
  }
}

}  // namespace lt2
