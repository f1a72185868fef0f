#include <cmath>
#include <vector>

#include "base/threads.h"
#include "ops/rms_norm/kernel.h"
#include "ops/simd/column_sums.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rms_norm/rms_norm_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// Numbers a thread should at least get.
constexpr int64_t kGrain = 32768;

HWY_INLINE VF load_weight(const float* weight, int64_t i, Whole part) {
  return weight ? load(weight + i, part) : hn::Set(F(), 1.0f);
}
HWY_INLINE VF load_weight(const float* weight, int64_t i, First part) {
  return weight ? load(weight + i, part) : hn::Set(F(), 1.0f);
}

template <class X>
HWY_INLINE float inverse_norm(const NormRows& norm, const X* x) {
  const VF sum = sum_over(norm.width, [&](int64_t i, auto part) HWY_ATTR {
    const VF v = load(x + i, part);
    return hn::Mul(v, v);
  });
  return 1.0f / std::sqrt(norm.mean_factor * sum_of_lanes(sum) + norm.eps);
}

template <class Body>
void for_each_row(const NormRows& norm, Body&& body) {
  parallel_for(norm.rows, std::max<int64_t>(1, kGrain / norm.width), [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

// body(row, partial, scratch) adds to partial [width], its slice's part of the weight's gradient (null if not wanted).
// scratch [width] is for the row at hand.
template <class Body>
void for_each_row_sliced(const NormRows& norm, float* dweight, Body&& body) {
  sum_columns<1>(norm.rows, norm.width, kGrain, {dweight}, [&](int64_t begin, int64_t end, const auto& sums) HWY_ATTR {
    std::vector<float> scratch(static_cast<size_t>(norm.width));
    for (int64_t row = begin; row < end; ++row) body(row, sums[0], scratch.data());
  });
}

template <class X, class Y>
void forward_typed(const NormRows& norm, const X* x_all, Y* y_all, float* inverse) {
  for_each_row(norm, [&](int64_t row) HWY_ATTR {
    const X* x = x_all + row * norm.width;
    Y* y = y_all + row * norm.width;
    const float r = inverse_norm(norm, x);
    if (inverse) inverse[row] = r;
    const VF rv = hn::Set(F(), r);
    for_each_vector(norm.width, [&](int64_t i, auto part) HWY_ATTR {
      store(hn::Mul(hn::Mul(load(x + i, part), rv), load_weight(norm.weight, i, part)), y + i, part);
    });
  });
}

// With n = x r, m = dy w:   dx = r (m - mean_factor n (n . m)),   dw = sum over rows of dy n.
template <class X, class Y>
void backward_typed(const NormRows& norm, const X* x_all, const Y* dy_all, const float* inverse, X* dx_all,
                    float* dweight) {
  for_each_row_sliced(norm, dweight, [&](int64_t row, float* partial, float*) HWY_ATTR {
    const X* x = x_all + row * norm.width;
    const Y* dy = dy_all + row * norm.width;
    X* dx = dx_all + row * norm.width;
    const float r = inverse[row];
    const VF rv = hn::Set(F(), r);
    const float dot = sum_of_lanes(sum_over(norm.width, [&](int64_t i, auto part) HWY_ATTR {
      return hn::Mul(hn::Mul(load(x + i, part), rv), hn::Mul(load(dy + i, part), load_weight(norm.weight, i, part)));
    }));
    const VF along = hn::Set(F(), norm.mean_factor * dot);
    for_each_vector(norm.width, [&](int64_t i, auto part) HWY_ATTR {
      const VF n = hn::Mul(load(x + i, part), rv), g = load(dy + i, part);
      const VF m = hn::Mul(g, load_weight(norm.weight, i, part));
      store(hn::Mul(rv, hn::NegMulAdd(along, n, m)), dx + i, part);
      if (partial) store(hn::MulAdd(g, n, load(partial + i, part)), partial + i, part);
    });
  });
}

template <class T>
void gate_forward_typed(const NormRows& norm, const T* x_all, const T* gate_all, T* y_all, float* inverse) {
  for_each_row(norm, [&](int64_t row) HWY_ATTR {
    const T* x = x_all + row * norm.width;
    const T* gate = gate_all + row * norm.width;
    T* y = y_all + row * norm.width;
    const float r = inverse_norm(norm, x);
    if (inverse) inverse[row] = r;
    const VF rv = hn::Set(F(), r);
    for_each_vector(norm.width, [&](int64_t i, auto part) HWY_ATTR {
      const VF z = load(gate + i, part);
      const VF normed = hn::Mul(hn::Mul(load(x + i, part), rv), load_weight(norm.weight, i, part));
      store(hn::Mul(normed, hn::Mul(z, sigmoid(z))), y + i, part);
    });
  });
}

// The plain norm's backward with dy silu(gate) in place of dy, kept in scratch between the two sweeps; the first sweep
// also gives dgate = dy n w silu'(gate).
template <class T>
void gate_backward_typed(const NormRows& norm, const T* x_all, const T* gate_all, const T* dy_all, const float* inverse,
                         T* dx_all, T* dgate_all, float* dweight) {
  for_each_row_sliced(norm, dweight, [&](int64_t row, float* partial, float* scratch) HWY_ATTR {
    const T* x = x_all + row * norm.width;
    const T* gate = gate_all + row * norm.width;
    const T* dy = dy_all + row * norm.width;
    T* dx = dx_all + row * norm.width;
    T* dgate = dgate_all + row * norm.width;
    const VF rv = hn::Set(F(), inverse[row]), one = hn::Set(F(), 1.0f);
    const float dot = sum_of_lanes(sum_over(norm.width, [&](int64_t i, auto part) HWY_ATTR {
      const VF z = load(gate + i, part), s = sigmoid(z), g = load(dy + i, part);
      const VF nw = hn::Mul(hn::Mul(load(x + i, part), rv), load_weight(norm.weight, i, part));
      const VF slope = hn::Mul(s, hn::MulAdd(z, hn::Sub(one, s), one));
      store(hn::Mul(hn::Mul(g, nw), slope), dgate + i, part);
      const VF through = hn::Mul(g, hn::Mul(z, s));
      store(through, scratch + i, part);
      return hn::Mul(nw, through);
    }));
    const VF along = hn::Set(F(), norm.mean_factor * dot);
    for_each_vector(norm.width, [&](int64_t i, auto part) HWY_ATTR {
      const VF n = hn::Mul(load(x + i, part), rv), through = load(scratch + i, part);
      const VF m = hn::Mul(through, load_weight(norm.weight, i, part));
      store(hn::Mul(rv, hn::NegMulAdd(along, n, m)), dx + i, part);
      if (partial) store(hn::MulAdd(through, n, load(partial + i, part)), partial + i, part);
    });
  });
}

template <class X>
void forward_from(const NormRows& norm, const X* x, NormOutput y, float* inverse) {
  y.element == Element::kBf16 ? forward_typed(norm, x, static_cast<uint16_t*>(y.data), inverse)
                              : forward_typed(norm, x, static_cast<float*>(y.data), inverse);
}

void Forward(const NormRows& norm, NormInput x, NormOutput y, float* inverse) {
  x.element == Element::kBf16 ? forward_from(norm, static_cast<const uint16_t*>(x.data), y, inverse)
                              : forward_from(norm, static_cast<const float*>(x.data), y, inverse);
}

template <class X>
void backward_from(const NormRows& norm, const X* x, NormInput dy, const float* inverse, X* dx, float* dweight) {
  dy.element == Element::kBf16 ? backward_typed(norm, x, static_cast<const uint16_t*>(dy.data), inverse, dx, dweight)
                               : backward_typed(norm, x, static_cast<const float*>(dy.data), inverse, dx, dweight);
}

void Backward(const NormRows& norm, NormInput x, NormInput dy, const float* inverse, NormOutput dx, float* dweight) {
  x.element == Element::kBf16
      ? backward_from(norm, static_cast<const uint16_t*>(x.data), dy, inverse, static_cast<uint16_t*>(dx.data), dweight)
      : backward_from(norm, static_cast<const float*>(x.data), dy, inverse, static_cast<float*>(dx.data), dweight);
}

template <class T>
void gate_forward_any(const NormRows& norm, const void* x, const void* gate, void* y, float* inverse) {
  gate_forward_typed(norm, static_cast<const T*>(x), static_cast<const T*>(gate), static_cast<T*>(y), inverse);
}

void GateForward(const NormRows& norm, Element element, const void* x, const void* gate, void* y, float* inverse) {
  (element == Element::kBf16 ? gate_forward_any<uint16_t> : gate_forward_any<float>)(norm, x, gate, y, inverse);
}

template <class T>
void gate_backward_any(const NormRows& norm, const void* x, const void* gate, const void* dy, const float* inverse,
                       void* dx, void* dgate, float* dweight) {
  gate_backward_typed(norm, static_cast<const T*>(x), static_cast<const T*>(gate), static_cast<const T*>(dy), inverse,
                      static_cast<T*>(dx), static_cast<T*>(dgate), dweight);
}

void GateBackward(const NormRows& norm, Element element, const void* x, const void* gate, const void* dy,
                  const float* inverse, void* dx, void* dgate, float* dweight) {
  (element == Element::kBf16 ? gate_backward_any<uint16_t> : gate_backward_any<float>)(norm, x, gate, dy, inverse, dx,
                                                                                       dgate, dweight);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(Forward);
HWY_EXPORT(Backward);
HWY_EXPORT(GateForward);
HWY_EXPORT(GateBackward);

void norm_forward(const NormRows& norm, NormInput x, NormOutput y, float* inverse) {
  HWY_DYNAMIC_DISPATCH(Forward)(norm, x, y, inverse);
}

void norm_backward(const NormRows& norm, NormInput x, NormInput dy, const float* inverse, NormOutput dx,
                   float* dweight) {
  HWY_DYNAMIC_DISPATCH(Backward)(norm, x, dy, inverse, dx, dweight);
}

void norm_gate_forward(const NormRows& norm, Element element, const void* x, const void* gate, void* y,
                       float* inverse) {
  HWY_DYNAMIC_DISPATCH(GateForward)(norm, element, x, gate, y, inverse);
}

void norm_gate_backward(const NormRows& norm, Element element, const void* x, const void* gate, const void* dy,
                        const float* inverse, void* dx, void* dgate, float* dweight) {
  HWY_DYNAMIC_DISPATCH(GateBackward)(norm, element, x, gate, dy, inverse, dx, dgate, dweight);
}

}  // namespace lt2
#endif
