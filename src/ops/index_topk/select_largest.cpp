#include "ops/index_topk/select_largest.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

namespace lt2 {
namespace {

// A histogram of sign, exponent and two bits of the mantissa: the bin that holds the last taken score is small.
constexpr int kBinBits = 11;

/// Unsigned numbers in the order of the floats; NaN lowest.
uint32_t order_of(float score) {
  if (score != score) return 0;
  score += 0.0f;  // -0 becomes 0
  uint32_t bits;
  std::memcpy(&bits, &score, sizeof(bits));
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

}  // namespace

int64_t select_largest(const float* scores, int64_t n, int64_t count, int32_t* out) {
  if (count >= n) {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<int32_t>(i);
    return n;
  }
  if (count <= 0) return 0;
  thread_local std::vector<uint32_t> keys, at_cut;
  keys.resize(static_cast<size_t>(n));
  int64_t bins[1 << kBinBits] = {};
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t key = order_of(scores[i]);
    keys[static_cast<size_t>(i)] = key;
    ++bins[key >> (32 - kBinBits)];
  }
  uint32_t bin = (1u << kBinBits) - 1;
  int64_t missing = count;
  while (bins[bin] < missing) missing -= bins[bin--];
  at_cut.clear();
  for (const uint32_t key : keys) {
    if (key >> (32 - kBinBits) == bin) at_cut.push_back(key);
  }
  const auto cut = at_cut.begin() + (missing - 1);
  std::nth_element(at_cut.begin(), cut, at_cut.end(), std::greater<>());
  const uint32_t threshold = *cut;
  // nth_element leaves only keys >= threshold in front of the cut.
  missing -= std::count_if(at_cut.begin(), cut, [&](uint32_t key) { return key > threshold; });
  int64_t taken = 0;
  for (int64_t i = 0; taken < count; ++i) {
    const uint32_t key = keys[static_cast<size_t>(i)];
    if (key > threshold || (key == threshold && missing-- > 0)) out[taken++] = static_cast<int32_t>(i);
  }
  return taken;
}

}  // namespace lt2
