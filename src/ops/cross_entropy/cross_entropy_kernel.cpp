#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/threads.h"
#include "ops/cross_entropy/kernel.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cross_entropy/cross_entropy_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// Logits a thread should at least get.
constexpr int64_t kGrain = 16384;

HWY_INLINE float row_maximum(const float* x, int64_t n) {
  const F d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const VF lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  VF m0 = lowest, m1 = lowest;
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    m0 = hn::Max(m0, hn::LoadU(d, x + i));
    m1 = hn::Max(m1, hn::LoadU(d, x + i + lanes));
  }
  float maximum = max_of_lanes(hn::Max(m0, m1));
  for (; i < n; ++i) maximum = std::max(maximum, x[i]);
  return maximum;
}

// Leaves e^(x - maximum) in x when `keep`; returns their sum.
template <bool kKeep>
HWY_INLINE float row_exponentials(float* x, int64_t n, float maximum) {
  const VF top = hn::Set(F(), maximum);
  return sum_of_lanes(sum_over(n, [&](int64_t i, auto part) HWY_ATTR {
    VF e = exp(hn::Sub(load(x + i, part), top));
    if constexpr (kKeep) store(e, x + i, part);
    // Lanes past the end were loaded as zeros, not as nothing.
    if constexpr (std::is_same_v<decltype(part), First>) e = hn::IfThenElseZero(hn::FirstN(F(), part.count), e);
    return e;
  }));
}

void CrossEntropyRows(const CrossEntropyBlock& block) {
  parallel_for(block.rows, std::max<int64_t>(1, kGrain / block.V), [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) {
      float* x = block.logits + row * block.V;
      const int64_t target = block.targets[row];
      const float maximum = row_maximum(x, block.V), at_target = x[target];
      const float sum =
          block.gradient ? row_exponentials<true>(x, block.V, maximum) : row_exponentials<false>(x, block.V, maximum);
      block.losses[row] = std::log(static_cast<double>(sum)) + (static_cast<double>(maximum) - at_target);
      if (!block.gradient) continue;
      const VF factor = hn::Set(F(), block.gradient_scale / sum);
      for_each_vector(block.V,
                      [&](int64_t i, auto part) HWY_ATTR { store(hn::Mul(load(x + i, part), factor), x + i, part); });
      x[target] -= block.gradient_scale;
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(CrossEntropyRows);

void cross_entropy_block(const CrossEntropyBlock& block) { HWY_DYNAMIC_DISPATCH(CrossEntropyRows)(block); }

}  // namespace lt2
#endif
