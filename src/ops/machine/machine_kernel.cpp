#include "ops/machine/machine.h"

#include "ops/simd/byte_unit.h"
#include "ops/simd/targets.h"
#include "ops/simd/tile_unit.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/machine/machine_kernel.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

// clang-format off: the order above is Highway's
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/threads.h"
#include "ops/linear/buffer.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using F = hn::ScalableTag<float>;
using VF = hn::Vec<F>;

// Chains side by side: enough to cover the latency of two units, few enough for 16 registers.
constexpr int kChains = 12;

}  // namespace

/// Runs kChains chains of `steps` multiply-adds; returns the flops done.
double fma_chains(int64_t steps, float* sink) {
  const F d;
  const VF a = hn::Set(d, 0.999f), b = hn::Set(d, 0.001f);
  VF acc[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) acc[i] = hn::Set(d, static_cast<float>(i + 1));
  for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = hn::MulAdd(acc[i], a, b);
  }
  VF sum = hn::Zero(d);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum = hn::Add(sum, acc[i]);
  *sink = hn::GetLane(sum);
  return 2.0 * kChains * static_cast<double>(hn::Lanes(d)) * static_cast<double>(steps);
}

void read_all(const float* data, int64_t count, float* sink) {
  const F d;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d));
  VF a = hn::Zero(d), b = a, c = a, e = a;
  for (int64_t i = 0; i + 4 * step <= count; i += 4 * step) {
    a = hn::Add(a, hn::LoadU(d, data + i));
    b = hn::Add(b, hn::LoadU(d, data + i + step));
    c = hn::Add(c, hn::LoadU(d, data + i + 2 * step));
    e = hn::Add(e, hn::LoadU(d, data + i + 3 * step));
  }
  *sink = hn::GetLane(hn::Add(hn::Add(a, b), hn::Add(c, e)));
}

void read_write_all(float* data, int64_t count) {
  const F d;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d));
  const VF a = hn::Set(d, 0.5f), b = hn::Set(d, 1.0f);
  for (int64_t i = 0; i + step <= count; i += step) hn::StoreU(hn::MulAdd(hn::LoadU(d, data + i), a, b), d, data + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(fma_chains);
HWY_EXPORT(read_all);
HWY_EXPORT(read_write_all);

namespace {

constexpr int kTries = 7;
constexpr int64_t kFloats = int64_t{128} << 20;
constexpr int64_t kChunk = int64_t{1} << 20;

// Shortest of kTries runs, in seconds.
template <typename Run>
double best_seconds(const Run& run) {
  double best = 1e30;
  for (int i = 0; i < kTries; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

// Touched by the threads that will read it, so that on a machine with several memories each thread finds some of it
// near.
AlignedBytes filled() {
  AlignedBytes bytes = aligned_bytes(kFloats * sizeof(float));
  float* data = reinterpret_cast<float*>(bytes.get());
  parallel_for(kFloats, kChunk, [&](int64_t begin, int64_t end) { std::fill(data + begin, data + end, 1.f); });
  return bytes;
}

volatile float g_sink;  // keeps the measured loops from being removed

// Of chains(), which returns the operations it did, on every thread.
template <class Chains>
double chains_gflops(const Chains& chains) {
  const int threads = num_threads();
  std::unique_ptr<double[]> done(new double[static_cast<size_t>(threads)]());
  double flops = 0;
  const double seconds = best_seconds([&] {
    parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) done[static_cast<size_t>(i)] = chains();
    });
    flops = 0;
    for (int i = 0; i < threads; ++i) flops += done[static_cast<size_t>(i)];
  });
  return flops / seconds * 1e-9;
}

// Of a TileUnit or ByteUnit, null: none.
template <class Unit>
double unit_gflops(const Unit* unit) {
  if (unit == nullptr) return 0;
  return chains_gflops([&] {
    unit->begin();
    const double flops = unit->chains(1 << 19);
    unit->end();
    return flops;
  });
}

}  // namespace

double measure_fma_gflops() {
  return chains_gflops([] {
    float sink = 0;
    const double flops = HWY_DYNAMIC_DISPATCH(fma_chains)(4 << 20, &sink);
    g_sink = sink;
    return flops;
  });
}

double measure_bf16_gflops() { return unit_gflops(tile_unit()); }
double measure_byte_gflops() { return unit_gflops(byte_unit(kManyByteRows)); }

double measure_read_gbps() {
  const AlignedBytes bytes = filled();
  const float* data = reinterpret_cast<const float*>(bytes.get());
  const double seconds = best_seconds([&] {
    parallel_for(kFloats, kChunk, [&](int64_t begin, int64_t end) {
      float sink = 0;
      HWY_DYNAMIC_DISPATCH(read_all)(data + begin, end - begin, &sink);
      g_sink = sink;
    });
  });
  return static_cast<double>(kFloats) * sizeof(float) / seconds * 1e-9;
}

double measure_read_write_gbps() {
  const AlignedBytes bytes = filled();
  float* data = reinterpret_cast<float*>(bytes.get());
  const double seconds = best_seconds([&] {
    parallel_for(kFloats, kChunk, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(read_write_all)(data + begin, end - begin);
    });
  });
  return 2.0 * static_cast<double>(kFloats) * sizeof(float) / seconds * 1e-9;
}

}  // namespace lt2
#endif
