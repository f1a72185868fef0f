// Few rows: the weights are read once, by all threads, head by head and in strips of output channels.
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/head_linear/head_linear_kernel.cpp"
#include <hwy/foreach_target.h>

#include <algorithm>

#include "base/threads.h"
#include "ops/head_linear/kernel.h"
#include "ops/linear/buffer.h"
#include "ops/simd/gemm-inl.h"
#include "ops/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kRows = 64;    // of x in scratch at a time
constexpr int64_t kStrip = 192;  // output channels of a work item: whole tiles of the product

template <typename T>
void strip(const HeadLinearShape& s, const T* x, const float* weight, T* y, int64_t head, int64_t n0) {
  thread_local Scratch scratch;
  const int64_t width = std::min(kStrip, s.N - n0);
  float* rows = scratch.floats(static_cast<size_t>(kRows * (s.K + kStrip)));
  float* products = rows + kRows * s.K;
  const auto copy = [](const auto* from, auto* to, int64_t count) {
    for_each_vector(count, [&](int64_t i, auto part) HWY_ATTR { store(load(from + i, part), to + i, part); });
  };
  for (int64_t r0 = 0; r0 < s.R; r0 += kRows) {
    const int64_t count = std::min(kRows, s.R - r0);
    for (int64_t r = 0; r < count; ++r) copy(x + (r0 + r) * s.x_row + head * s.x_head, rows + r * s.K, s.K);
    gemm(count, width, s.K, {rows, s.K, 1}, weight + head * s.K * s.N + n0, s.N, products, kStrip);
    for (int64_t r = 0; r < count; ++r) copy(products + r * kStrip, y + ((r0 + r) * s.H + head) * s.N + n0, width);
  }
}

template <typename T>
void forward_all(const HeadLinearShape& s, const T* x, const float* weight, T* y) {
  const int64_t strips = (s.N + kStrip - 1) / kStrip;
  parallel_for(s.H * strips, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) strip(s, x, weight, y, i / strips, i % strips * kStrip);
  });
}

void forward(const HeadLinearShape& shape, const void* x, const float* weight, void* y) {
  if (shape.element == Element::kBf16) {
    forward_all(shape, static_cast<const uint16_t*>(x), weight, static_cast<uint16_t*>(y));
  } else {
    forward_all(shape, static_cast<const float*>(x), weight, static_cast<float*>(y));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(forward);

void head_linear_forward(const HeadLinearShape& shape, const void* x, const float* weight, void* y) {
  HWY_DYNAMIC_DISPATCH(forward)(shape, x, weight, y);
}

}  // namespace lt2
#endif
