#include "base/threads.h"
#include "ops/gates/kernel.h"
#include "ops/simd/column_sums.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/gates/gates_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// Numbers a thread should at least get: an exponential each.
constexpr int64_t kGrain = 4096;

// log(1 + u) for u in [0, 1] with small relative error: the rounding of 1 + u is divided out again.
HWY_INLINE VF log1p(VF u) {
  const F d;
  const VF one = hn::Set(d, 1.0F), w = hn::Add(one, u), rounded = hn::Sub(w, one);
  const VF corrected = hn::Mul(log(w), hn::Div(u, rounded));
  return hn::IfThenElse(hn::Eq(rounded, hn::Zero(d)), u, corrected);
}

HWY_INLINE VF softplus(VF z) { return hn::Add(hn::Max(z, hn::Zero(F())), log1p(exp(hn::Neg(hn::Abs(z))))); }

template <GateActivationKind kKind>
HWY_INLINE VF activation(VF z) {
  if constexpr (kKind == GateActivationKind::kSoftplus) return softplus(z);
  if constexpr (kKind == GateActivationKind::kSigmoid) return sigmoid(z);
  return hn::Mul(z, sigmoid(z));
}

// softplus' = s,  sigmoid' = s (1 - s),  swish' = s (1 + z (1 - s))
template <GateActivationKind kKind>
HWY_INLINE VF slope(VF z) {
  const VF one = hn::Set(F(), 1.0F), s = sigmoid(z), rest = hn::Sub(one, s);
  if constexpr (kKind == GateActivationKind::kSoftplus) return s;
  if constexpr (kKind == GateActivationKind::kSigmoid) return hn::Mul(s, rest);
  return hn::Mul(s, hn::MulAdd(z, rest, one));
}

template <class X, class Part>
HWY_INLINE VF input(const GateShape& s, const X* x, int64_t i, Part part) {
  const VF v = load(x + i, part);
  return hn::Mul(hn::Set(F(), s.sign), s.bias ? hn::Add(v, load(s.bias + i, part)) : v);
}

template <class Part>
HWY_INLINE VF scaled(const GateShape& s, VF v, int64_t i, Part part) {
  const VF y = hn::Mul(hn::Set(F(), s.factor), v);
  return s.rate ? hn::Mul(load(s.rate + i, part), y) : y;
}

// Without parameters rows mean nothing: threads take any range of numbers as one row.
template <class Body>
void for_each_range(const GateShape& s, Body&& body) {
  const bool flat = !s.rate && !s.bias;
  const int64_t count = flat ? s.rows * s.n : s.rows, step = flat ? 1 : s.n;
  parallel_for(count, kGrain / step + 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    flat ? body(1, end - begin, begin) : body(end - begin, s.n, begin * s.n);
  });
}

template <GateActivationKind kKind, class X, class Y>
void forward_typed(const GateShape& s, const X* x_all, Y* y_all) {
  for_each_range(s, [&](int64_t rows, int64_t n, int64_t offset) HWY_ATTR {
    const X* x = x_all + offset;
    Y* y = y_all + offset;
    for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
      for_each_vector(n, [&](int64_t i, auto part) HWY_ATTR {
        store(scaled(s, activation<kKind>(input(s, x, i, part)), i, part), y + i, part);
      });
    }
  });
}

template <GateActivationKind kKind, class X, class Y>
HWY_INLINE void backward_row(const GateShape& s, int64_t n, const X* x, const Y* dy, X* dx, float* dlog_rate,
                             float* dbias) {
  for_each_vector(n, [&](int64_t i, auto part) HWY_ATTR {
    const VF z = input(s, x, i, part), g = scaled(s, load(dy + i, part), i, part);
    const VF d = hn::Mul(hn::Mul(hn::Set(F(), s.sign), g), slope<kKind>(z));
    store(d, dx + i, part);
    if (dbias) store(hn::Add(load(dbias + i, part), d), dbias + i, part);
    if (dlog_rate) store(hn::MulAdd(g, activation<kKind>(z), load(dlog_rate + i, part)), dlog_rate + i, part);
  });
}

template <GateActivationKind kKind, class X, class Y>
void backward_typed(const GateShape& s, const X* x, const Y* dy, X* dx, float* dlog_rate, float* dbias) {
  if (!dlog_rate && !dbias) {
    for_each_range(s, [&](int64_t rows, int64_t n, int64_t offset) HWY_ATTR {
      for (int64_t r = 0; r < rows; ++r, offset += n) {
        backward_row<kKind>(s, n, x + offset, dy + offset, dx + offset, nullptr, nullptr);
      }
    });
    return;
  }
  sum_columns<2>(s.rows, s.n, kGrain, {dlog_rate, dbias}, [&](int64_t begin, int64_t end, const auto& sums) HWY_ATTR {
    for (int64_t r = begin; r < end; ++r) {
      backward_row<kKind>(s, s.n, x + r * s.n, dy + r * s.n, dx + r * s.n, sums[0], sums[1]);
    }
  });
}

template <class Body>
void dispatch(const GateShape& s, Body&& body) {
  const auto typed = [&](auto x, auto y) {
    switch (s.kind) {
      case GateActivationKind::kSoftplus:
        return body.template operator()<GateActivationKind::kSoftplus>(x, y);
      case GateActivationKind::kSigmoid:
        return body.template operator()<GateActivationKind::kSigmoid>(x, y);
      case GateActivationKind::kSwish:
        return body.template operator()<GateActivationKind::kSwish>(x, y);
    }
  };
  if (s.x_element == Element::kF32) return typed(float(), float());
  s.y_element == Element::kBf16 ? typed(uint16_t(), uint16_t()) : typed(uint16_t(), float());
}

void GateForward(const GateShape& s, const void* x, void* y) {
  dispatch(s, [&]<GateActivationKind kKind, class X, class Y>(X, Y) {
    forward_typed<kKind>(s, static_cast<const X*>(x), static_cast<Y*>(y));
  });
}

void GateBackward(const GateShape& s, const void* x, const void* dy, void* dx, float* dlog_rate, float* dbias) {
  dispatch(s, [&]<GateActivationKind kKind, class X, class Y>(X, Y) {
    backward_typed<kKind>(s, static_cast<const X*>(x), static_cast<const Y*>(dy), static_cast<X*>(dx), dlog_rate,
                          dbias);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(GateForward);
HWY_EXPORT(GateBackward);

void gate_forward(const GateShape& shape, const void* x, void* y) { HWY_DYNAMIC_DISPATCH(GateForward)(shape, x, y); }

void gate_backward(const GateShape& shape, const void* x, const void* dy, void* dx, float* dlog_rate, float* dbias) {
  HWY_DYNAMIC_DISPATCH(GateBackward)(shape, x, dy, dx, dlog_rate, dbias);
}

}  // namespace lt2
#endif
