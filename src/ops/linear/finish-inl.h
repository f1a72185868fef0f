// What happens to a row of finished sums while it still lies in the caches (Epilogue in kernel.h).
//
// Per-target header (no include guard of the usual kind): include inside foreach_target files only.
#if defined(LT2_OPS_LINEAR_FINISH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LT2_OPS_LINEAR_FINISH_INL_H_
#undef LT2_OPS_LINEAR_FINISH_INL_H_
#else
#define LT2_OPS_LINEAR_FINISH_INL_H_
#endif

#include "ops/linear/kernel.h"
#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

// `sum` may be y itself. The product is rounded to y's type before it is gated, as if it had been stored: fused and
// separate agree bit for bit.
template <class T>
HWY_INLINE void finish_row_typed(const Epilogue& to, ptrdiff_t offset, int64_t cols, const float* sum) {
  T* y = static_cast<T*>(to.y) + offset;
  if (to.gate != nullptr) {
    const T* gate = static_cast<const T*>(to.gate) + offset;
    T* product = to.product != nullptr ? static_cast<T*>(to.product) + offset : y;
    for_each_vector(cols, [&](int64_t i, auto part) HWY_ATTR {
      store(load(sum + i, part), product + i, part);
      const VF a = load(gate + i, part);
      store(hn::Mul(hn::Mul(a, sigmoid(a)), load(product + i, part)), y + i, part);
    });
  } else if (to.residual != nullptr) {
    const float* residual = to.residual + offset;
    for_each_vector(cols, [&](int64_t i, auto part)
                              HWY_ATTR { store(hn::Add(load(residual + i, part), load(sum + i, part)), y + i, part); });
  } else if (static_cast<const void*>(y) != static_cast<const void*>(sum)) {
    for_each_vector(cols, [&](int64_t i, auto part) HWY_ATTR { store(load(sum + i, part), y + i, part); });
  }
}

/// Elements offset .. offset + cols of y.
HWY_INLINE void finish_row(const Epilogue& to, ptrdiff_t offset, int64_t cols, const float* sum) {
  to.y_element == Element::kBf16 ? finish_row_typed<uint16_t>(to, offset, cols, sum)
                                 : finish_row_typed<float>(to, offset, cols, sum);
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();
#endif
