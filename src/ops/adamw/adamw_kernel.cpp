#include "ops/adamw/kernel.h"

#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/adamw/adamw_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One body for whole vectors and the masked rest.
template <class D, class Load, class Put>
HWY_INLINE void update(D d, const AdamWStep& s, Load load, Put put) {
  const auto g = hn::Mul(load(3), hn::Set(d, s.gradient_scale));
  const auto p = hn::Mul(load(0), hn::Set(d, s.decay));
  const auto m = hn::MulAdd(hn::Set(d, s.beta1), load(1), hn::Mul(hn::Set(d, 1 - s.beta1), g));
  const auto v = hn::MulAdd(hn::Set(d, s.beta2), load(2), hn::Mul(hn::Set(d, 1 - s.beta2), hn::Mul(g, g)));
  const auto denominator = hn::MulAdd(hn::Sqrt(v), hn::Set(d, s.inverse_root_correction), hn::Set(d, s.epsilon));
  put(0, hn::NegMulAdd(hn::Set(d, s.step_size), hn::Div(m, denominator), p));
  put(1, m);
  put(2, v);
}

void adamw_step_t(const AdamWStep& s, float* p, float* m, float* v, const float* g, int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  float* out[3] = {p, m, v};
  const float* in[4] = {p, m, v, g};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    update(
        d, s, [&](int k) HWY_ATTR { return hn::LoadU(d, in[k] + i); },
        [&](int k, auto x) HWY_ATTR { hn::StoreU(x, d, out[k] + i); });
  }
  if (i == count) return;
  const auto mask = hn::FirstN(d, static_cast<size_t>(count - i));
  update(
      d, s, [&](int k) HWY_ATTR { return hn::MaskedLoad(mask, d, in[k] + i); },
      [&](int k, auto x) HWY_ATTR { hn::BlendedStore(x, mask, d, out[k] + i); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(adamw_step_t);

void adamw_step(const AdamWStep& step, float* p, float* m, float* v, const float* g, int64_t count) {
  HWY_DYNAMIC_DISPATCH(adamw_step_t)(step, p, m, v, g, count);
}

double sum_of_squares(const float* g, int64_t count) {
  double sum[8] = {};  // eight chains hide the addition's latency
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int k = 0; k < 8; ++k) sum[k] += static_cast<double>(g[i + k]) * g[i + k];
  }
  for (; i < count; ++i) sum[0] += static_cast<double>(g[i]) * g[i];
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

}  // namespace lt2
#endif
