#include "ops/decay_gate/kernel.h"

#include "base/threads.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/decay_gate/decay_gate_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

// log(1 + u) for u in [0, 1] with small relative error: the rounding of 1 + u is divided out again.
HWY_INLINE VF log1p(VF u) {
  const F d;
  const VF one = hn::Set(d, 1.0F), w = hn::Add(one, u), rounded = hn::Sub(w, one);
  const VF corrected = hn::Mul(log(w), hn::Div(u, rounded));
  return hn::IfThenElse(hn::Eq(rounded, hn::Zero(d)), u, corrected);
}

HWY_INLINE VF softplus(VF z) { return hn::Add(hn::Max(z, hn::Zero(F())), log1p(exp(hn::Neg(hn::Abs(z))))); }

void log_decay_rows(const float* x, const float* rate, const float* bias, float* out, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r, x += n, out += n) {
    for_each_vector(n, [&](int64_t i, auto part) HWY_ATTR {
      const VF z = hn::Add(load(x + i, part), load(bias + i, part));
      store(hn::Neg(hn::Mul(load(rate + i, part), softplus(z))), out + i, part);
    });
  }
}

void write_strength_range(const float* x, float scale, float* out, int64_t n) {
  for_each_vector(n, [&](int64_t i, auto part)
                         HWY_ATTR { store(hn::Mul(hn::Set(F(), scale), sigmoid(load(x + i, part))), out + i, part); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(log_decay_rows);
HWY_EXPORT(write_strength_range);

void log_decay_forward(const float* x, const float* rate, const float* bias, float* out, int64_t rows, int64_t n) {
  parallel_for(rows, 4096 / (n + 1) + 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(log_decay_rows)(x + begin * n, rate, bias, out + begin * n, end - begin, n);
  });
}

void write_strength_forward(const float* x, float scale, float* out, int64_t n) {
  parallel_for(n, 4096, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(write_strength_range)(x + begin, scale, out + begin, end - begin);
  });
}

}  // namespace lt2
#endif
