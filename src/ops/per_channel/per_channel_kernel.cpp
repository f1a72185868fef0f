#include "ops/per_channel/kernel.h"

#include "base/threads.h"
#include "ops/simd/column_sums.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/per_channel/per_channel_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// Numbers a thread should at least get: about ten microseconds of work.
constexpr int64_t kGrain = 32768;

template <class X, class Y>
void forward_typed(const PerChannelShape& s, const X* x_all, const Y* base_all, Y* y_all) {
  parallel_for(s.rows, kGrain / s.n + 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t r = begin; r < end; ++r) {
      const X* x = x_all + r * s.n;
      const Y* base = base_all ? base_all + r * s.n : nullptr;
      Y* y = y_all + r * s.n;
      for_each_vector(s.n, [&](int64_t i, auto part) HWY_ATTR {
        VF v = load(x + i, part);
        if (s.weight && base) {
          v = hn::MulAdd(load(s.weight + i, part), v, load(base + i, part));
        } else if (s.weight) {
          v = hn::Mul(load(s.weight + i, part), v);
        } else if (base) {
          v = hn::Add(load(base + i, part), v);
        }
        store(s.bias ? hn::Add(v, load(s.bias + i, part)) : v, y + i, part);
      });
    }
  });
}

template <class X, class Y>
void backward_typed(const PerChannelShape& s, const X* x_all, const Y* dy_all, X* dx_all, float* dweight,
                    float* dbias) {
  sum_columns<2>(s.rows, s.n, kGrain, {dweight, dbias}, [&](int64_t begin, int64_t end, const auto& sums) HWY_ATTR {
    for (int64_t r = begin; r < end; ++r) {
      const X* x = x_all + r * s.n;
      const Y* dy = dy_all + r * s.n;
      X* dx = dx_all ? dx_all + r * s.n : nullptr;
      for_each_vector(s.n, [&](int64_t i, auto part) HWY_ATTR {
        const VF g = load(dy + i, part);
        if (dx) store(s.weight ? hn::Mul(load(s.weight + i, part), g) : g, dx + i, part);
        if (sums[0]) store(hn::MulAdd(g, load(x + i, part), load(sums[0] + i, part)), sums[0] + i, part);
        if (sums[1]) store(hn::Add(load(sums[1] + i, part), g), sums[1] + i, part);
      });
    }
  });
}

template <class Body>
void dispatch(const PerChannelShape& s, Body&& body) {
  const bool narrow = s.y_element == Element::kBf16;
  if (s.x_element == Element::kBf16) return narrow ? body(uint16_t(), uint16_t()) : body(uint16_t(), float());
  narrow ? body(float(), uint16_t()) : body(float(), float());
}

void PerChannelForward(const PerChannelShape& s, const void* x, const void* base, void* y) {
  dispatch(s, [&]<class X, class Y>(X, Y) {
    forward_typed(s, static_cast<const X*>(x), static_cast<const Y*>(base), static_cast<Y*>(y));
  });
}

void PerChannelBackward(const PerChannelShape& s, const void* x, const void* dy, void* dx, float* dweight,
                        float* dbias) {
  dispatch(s, [&]<class X, class Y>(X, Y) {
    backward_typed(s, static_cast<const X*>(x), static_cast<const Y*>(dy), static_cast<X*>(dx), dweight, dbias);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(PerChannelForward);
HWY_EXPORT(PerChannelBackward);

void per_channel_forward(const PerChannelShape& shape, const void* x, const void* base, void* y) {
  HWY_DYNAMIC_DISPATCH(PerChannelForward)(shape, x, base, y);
}

void per_channel_backward(const PerChannelShape& shape, const void* x, const void* dy, void* dx, float* dweight,
                          float* dbias) {
  HWY_DYNAMIC_DISPATCH(PerChannelBackward)(shape, x, dy, dx, dweight, dbias);
}

}  // namespace lt2
#endif
