#include <algorithm>
#include <vector>

#include "base/threads.h"
#include "ops/short_conv/kernel.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/short_conv/short_conv_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// Numbers a thread should at least get.
constexpr int64_t kGrain = 16384;
// Tokens that share one load of the weights, and the inputs of the taps.
constexpr int64_t kTokens = 4;
// Channels of one backward task: few enough that its sums stay in L1, enough of each row for the prefetcher (128 take
// twice the time at L = 2048).
constexpr int64_t kTaskChannels = 512;
constexpr int64_t kPast = kShortConvWidth - 1;

// The four weights of each channel: w0 meets the oldest input.
struct Taps {
  VF w0, w1, w2, w3;
};
HWY_INLINE Taps load_taps(const float* weight, Whole) {
  Taps t;
  hn::LoadInterleaved4(F(), weight, t.w0, t.w1, t.w2, t.w3);
  return t;
}
HWY_INLINE Taps load_taps(const float* weight, First part) {
  HWY_ALIGN float lanes[HWY_MAX_BYTES] = {};
  std::copy(weight, weight + kShortConvWidth * static_cast<int64_t>(part.count), lanes);
  return load_taps(lanes, Whole());
}

// One chain in this order for every token, wherever a call or a group begins.
HWY_INLINE VF convolve(const Taps& t, VF bias, VF x0, VF x1, VF x2, VF x3) {
  return hn::MulAdd(t.w3, x3, hn::MulAdd(t.w2, x2, hn::MulAdd(t.w1, x1, hn::MulAdd(t.w0, x0, bias))));
}

// Row of token t >= -3 of sequence b.
template <class T>
HWY_INLINE const T* row_of(const ShortConvShape& s, const T* x, const T* tail, int64_t b, int64_t t) {
  return t < 0 ? tail + (b * kPast + kPast + t) * s.channels : x + (b * s.L + t) * s.channels;
}

template <class T>
void forward_typed(const ShortConvShape& s, const T* x, const T* tail, T* y) {
  const int64_t groups = (s.L + kTokens - 1) / kTokens;
  const int64_t grain = std::max<int64_t>(1, kGrain / (kTokens * s.channels));
  parallel_for(s.B * groups, grain, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t b = group / groups, first = group % groups * kTokens, count = std::min(kTokens, s.L - first);
      const T* rows[kTokens + kPast];
      for (int64_t t = 0; t < count + kPast; ++t) rows[t] = row_of(s, x, tail, b, first + t - kPast);
      T* out = y + (b * s.L + first) * s.channels;
      for_each_vector(s.channels, [&](int64_t c, auto part) HWY_ATTR {
        const Taps taps = load_taps(s.weight + c * kShortConvWidth, part);
        const VF bias = s.bias ? load(s.bias + c, part) : hn::Zero(F());
        VF x0 = load(rows[0] + c, part), x1 = load(rows[1] + c, part), x2 = load(rows[2] + c, part);
        for (int64_t t = 0; t < count; ++t) {
          const VF x3 = load(rows[t + kPast] + c, part);
          VF v = convolve(taps, bias, x0, x1, x2, x3);
          if (s.silu) v = hn::Mul(v, sigmoid(v));
          store(v, out + t * s.channels + c, part);
          x0 = x1;
          x1 = x2;
          x2 = x3;
        }
      });
    }
  });
}

// Sums of one task: the gradients of the four weights and the bias, and dc of the last three tokens.
struct TaskSums {
  float dw[kShortConvWidth][kTaskChannels] = {}, db[kTaskChannels] = {}, dc[kPast][kTaskChannels] = {};
};

// With c the sums before the activation and dc = dy silu'(c):
//   dx[t] = w3 dc[t] + w2 dc[t + 1] + w1 dc[t + 2] + w0 dc[t + 3],   dw_j = sum over t of dc[t] x[t - 3 + j]
// c is computed again: cheaper than storing it. Token t completes dx[t - 3], so the walk ends three tokens past L.
template <class T>
void backward_task(const ShortConvShape& s, const T* x, const T* tail, const T* dy, T* dx, int64_t b, int64_t c_first,
                   int64_t c_count, TaskSums* sums) {
  const VF one = hn::Set(F(), 1.0f);
  for (int64_t first = 0; first < s.L + kPast; first += kTokens) {
    const int64_t last = std::min(first + kTokens, s.L + kPast);
    const T* rows[kTokens + kPast];
    for (int64_t t = first - kPast; t < std::min(last, s.L); ++t) {
      rows[t - first + kPast] = row_of(s, x, tail, b, t) + c_first;
    }
    const float* bias_row = s.bias ? s.bias + c_first : nullptr;
    for_each_vector(c_count, [&](int64_t c, auto part) HWY_ATTR {
      const Taps taps = load_taps(s.weight + (c_first + c) * kShortConvWidth, part);
      const VF bias = bias_row ? load(bias_row + c, part) : hn::Zero(F());
      VF d0 = load(sums->dc[0] + c, part), d1 = load(sums->dc[1] + c, part), d2 = load(sums->dc[2] + c, part);
      VF x0 = hn::Zero(F()), x1 = x0, x2 = x0;
      if (first < s.L) {
        x0 = load(rows[0] + c, part);
        x1 = load(rows[1] + c, part);
        x2 = load(rows[2] + c, part);
      }
      VF dw0 = load(sums->dw[0] + c, part), dw1 = load(sums->dw[1] + c, part), dw2 = load(sums->dw[2] + c, part),
         dw3 = load(sums->dw[3] + c, part), db = load(sums->db + c, part);
      for (int64_t t = first; t < last; ++t) {
        VF d3 = hn::Zero(F());
        if (t < s.L) {
          const VF x3 = load(rows[t - first + kPast] + c, part);
          d3 = load(dy + (b * s.L + t) * s.channels + c_first + c, part);
          if (s.silu) {
            const VF v = convolve(taps, bias, x0, x1, x2, x3), g = sigmoid(v);
            d3 = hn::Mul(d3, hn::Mul(g, hn::MulAdd(v, hn::Sub(one, g), one)));
          }
          dw0 = hn::MulAdd(d3, x0, dw0);
          dw1 = hn::MulAdd(d3, x1, dw1);
          dw2 = hn::MulAdd(d3, x2, dw2);
          dw3 = hn::MulAdd(d3, x3, dw3);
          db = hn::Add(db, d3);
          x0 = x1;
          x1 = x2;
          x2 = x3;
        }
        if (t >= kPast) {
          const VF v = hn::MulAdd(taps.w0, d3, hn::MulAdd(taps.w1, d2, hn::MulAdd(taps.w2, d1, hn::Mul(taps.w3, d0))));
          store(v, dx + (b * s.L + t - kPast) * s.channels + c_first + c, part);
        }
        d0 = d1;
        d1 = d2;
        d2 = d3;
      }
      store(d0, sums->dc[0] + c, part);
      store(d1, sums->dc[1] + c, part);
      store(d2, sums->dc[2] + c, part);
      store(dw0, sums->dw[0] + c, part);
      store(dw1, sums->dw[1] + c, part);
      store(dw2, sums->dw[2] + c, part);
      store(dw3, sums->dw[3] + c, part);
      store(db, sums->db + c, part);
    });
  }
}

// A task is one sequence and one block of channels; the weight's gradient is then summed over sequences in order.
template <class T>
void backward_typed(const ShortConvShape& s, const T* x, const T* tail, const T* dy, T* dx, float* dweight,
                    float* dbias) {
  const int64_t blocks = (s.channels + kTaskChannels - 1) / kTaskChannels;
  std::vector<TaskSums> sums(static_cast<size_t>(s.B * blocks));
  const int64_t grain = std::max<int64_t>(1, kGrain / (s.L * kTaskChannels));
  parallel_for(s.B * blocks, grain, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t c = task % blocks * kTaskChannels;
      backward_task(s, x, tail, dy, dx, task / blocks, c, std::min(kTaskChannels, s.channels - c),
                    &sums[static_cast<size_t>(task)]);
    }
  });
  for (int64_t c = 0; c < s.channels; ++c) {
    float dw[kShortConvWidth] = {}, db = 0;
    for (int64_t b = 0; b < s.B; ++b) {
      const TaskSums& part = sums[static_cast<size_t>(b * blocks + c / kTaskChannels)];
      for (int64_t j = 0; j < kShortConvWidth; ++j) dw[j] += part.dw[j][c % kTaskChannels];
      db += part.db[c % kTaskChannels];
    }
    std::copy(dw, dw + kShortConvWidth, dweight + c * kShortConvWidth);
    if (dbias) dbias[c] = db;
  }
}

void ConvForward(const ShortConvShape& s, const void* x, const void* tail, void* y) {
  if (s.element == Element::kBf16) {
    forward_typed(s, static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(tail), static_cast<uint16_t*>(y));
  } else {
    forward_typed(s, static_cast<const float*>(x), static_cast<const float*>(tail), static_cast<float*>(y));
  }
}

void ConvBackward(const ShortConvShape& s, const void* x, const void* tail, const void* dy, void* dx, float* dweight,
                  float* dbias) {
  if (s.element == Element::kBf16) {
    backward_typed(s, static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(tail),
                   static_cast<const uint16_t*>(dy), static_cast<uint16_t*>(dx), dweight, dbias);
  } else {
    backward_typed(s, static_cast<const float*>(x), static_cast<const float*>(tail), static_cast<const float*>(dy),
                   static_cast<float*>(dx), dweight, dbias);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(ConvForward);
HWY_EXPORT(ConvBackward);

void short_conv_forward(const ShortConvShape& shape, const void* x, const void* tail, void* y) {
  HWY_DYNAMIC_DISPATCH(ConvForward)(shape, x, tail, y);
}

void short_conv_backward(const ShortConvShape& shape, const void* x, const void* tail, const void* dy, void* dx,
                         float* dweight, float* dbias) {
  HWY_DYNAMIC_DISPATCH(ConvBackward)(shape, x, tail, dy, dx, dweight, dbias);
}

}  // namespace lt2
#endif
