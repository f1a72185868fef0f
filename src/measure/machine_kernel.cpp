#include "measure/machine.h"

#include "ops/simd/byte_unit.h"
#include "ops/simd/targets.h"
#include "ops/simd/tile_unit.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "measure/machine_kernel.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

// clang-format off: the order above is Highway's
#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

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

// Independent chains: enough to hide the latency of two units, few enough for 16 registers.
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

constexpr int kBursts = 30;
constexpr double kBurst_s = 1e-3;
constexpr int64_t kFloats = int64_t{128} << 20;  // 512 MiB
constexpr int64_t kTouch = int64_t{1} << 20;

volatile float g_sink;  // keeps the measured loops from being removed

double fma_burst(int64_t count) {
  float sink = 0;
  const double flops = HWY_DYNAMIC_DISPATCH(fma_chains)(count, &sink);
  g_sink = sink;
  return flops;
}

// Of a TileUnit or ByteUnit.
template <class Unit>
double unit_burst(const Unit& unit, double (*chains)(int64_t), int64_t count) {
  unit.begin();
  const double flops = chains(count);
  unit.end();
  return flops;
}

/// One rate: `work(thread, count)` does a burst and returns its operations or bytes.
struct Kind {
  double* rate;  // where it goes, in 10^9 a second
  bool shared;   // by all threads: memory
  std::function<double(int, int64_t)> work;
  int64_t count = 1;  // makes a burst of about kBurst_s
};

double seconds_of(const Kind& kind, int thread, int64_t count) {
  const auto begin = std::chrono::steady_clock::now();
  kind.work(thread, count);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Doubles the count until a burst is long enough to measure, then scales it. A disturbed try would make bursts too
// short, so the shortest of three decides.
int64_t count_for_a_burst(const Kind& kind) {
  if (kind.work(0, 1) == 0) return 1;  // an emulated unit does nothing here
  for (int64_t count = 1;; count *= 2) {
    const double seconds =
        std::min({seconds_of(kind, 0, count), seconds_of(kind, 0, count), seconds_of(kind, 0, count)});
    if (seconds < kBurst_s / 8) continue;
    return std::max<int64_t>(1, std::llround(static_cast<double>(count) * kBurst_s / seconds));
  }
}

void measure(std::vector<Kind>& kinds) {
  using Clock = std::chrono::steady_clock;
  struct Burst {
    double done = 0;
    Clock::time_point begin, end;
    double rate() const { return done / std::chrono::duration<double>(end - begin).count(); }
  };
  for (auto& kind : kinds) kind.count = count_for_a_burst(kind);
  // Threads outside the pool: each runs exactly one burst at a time, however the pool shares out work. There are as
  // many as the system gives.
  std::promise<void> ready;
  const auto go = ready.get_future().share();
  std::function<void(int)> run;
  std::vector<std::thread> team;
  try {
    for (int t = 1; t < num_threads(); ++t) {
      team.emplace_back([&run, go, t] {
        go.wait();
        run(t);
      });
    }
  } catch (const std::system_error&) {
  }
  const auto threads = static_cast<int>(team.size()) + 1;
  // [kind][thread][burst]
  std::vector<std::vector<std::vector<Burst>>> bursts(
      kinds.size(), std::vector<std::vector<Burst>>(static_cast<size_t>(threads), std::vector<Burst>(kBursts)));
  std::barrier together(threads);
  run = [&](int thread) {
    for (int b = 0; b < kBursts; ++b) {
      for (size_t k = 0; k < kinds.size(); ++k) {
        Burst& burst = bursts[k][static_cast<size_t>(thread)][static_cast<size_t>(b)];
        together.arrive_and_wait();
        burst.begin = Clock::now();
        burst.done = kinds[k].work(thread, kinds[k].count);
        burst.end = Clock::now();
      }
    }
  };
  ready.set_value();
  run(0);
  for (auto& thread : team) thread.join();
  for (size_t k = 0; k < kinds.size(); ++k) {
    double rate = 0;
    if (kinds[k].shared) {
      for (size_t b = 0; b < kBursts; ++b) {
        Burst all = bursts[k][0][b];
        for (size_t t = 1; t < bursts[k].size(); ++t) {
          const Burst& one = bursts[k][t][b];
          all = {all.done + one.done, std::min(all.begin, one.begin), std::max(all.end, one.end)};
        }
        rate = std::max(rate, all.rate());
      }
    } else {
      for (const auto& of_thread : bursts[k]) {
        double best = 0;
        for (const auto& burst : of_thread) best = std::max(best, burst.rate());
        rate += best;
      }
    }
    *kinds[k].rate = rate * 1e-9;
  }
}

/// Memory that no cache holds, walked through again and again, each thread in its own part.
class Walk {
 public:
  explicit Walk(int threads)
      : part_(kFloats / threads / kPiece * kPiece), bytes_(aligned_bytes(kFloats * sizeof(float))) {
    // Several threads touch it first, so that on a NUMA machine each finds some of it near.
    parallel_for(kFloats, kTouch, [&](int64_t begin, int64_t end) { std::fill(data() + begin, data() + end, 1.F); });
    at_.resize(static_cast<size_t>(threads) * kApart);
  }
  /// body(data, floats) on the next `count` pieces; returns the bytes.
  template <class Body>
  double next(int thread, int64_t count, const Body& body) {
    int64_t& at = at_[static_cast<size_t>(thread) * kApart];
    for (int64_t i = 0; i < count; ++i) {
      body(data() + thread * part_ + at, kPiece);
      at = (at + kPiece) % part_;
    }
    return static_cast<double>(count * kPiece) * sizeof(float);
  }

 private:
  static constexpr int64_t kPiece = int64_t{1} << 16;  // 256 KiB
  static constexpr size_t kApart = 16;                 // places of two threads are not in one cache line
  float* data() { return reinterpret_cast<float*>(bytes_.get()); }
  int64_t part_;
  AlignedBytes bytes_;
  std::vector<int64_t> at_;
};

}  // namespace

MachineRates measure_rates(const WantedRates& wanted) {
  MachineRates rates;
  std::vector<Kind> kinds;
  if (wanted.fma) kinds.push_back({&rates.fma_gflops, false, [](int, int64_t count) { return fma_burst(count); }});
  const auto add_unit = [&](const auto* unit, double* loaded, double* in_registers) {
    if (unit == nullptr) return;
    kinds.push_back({loaded, false, [=](int, int64_t count) { return unit_burst(*unit, unit->loaded_chains, count); }});
    kinds.push_back({in_registers, false, [=](int, int64_t count) { return unit_burst(*unit, unit->chains, count); }});
  };
  if (wanted.bf16) add_unit(tile_unit(), &rates.bf16_gflops, &rates.bf16_register_gflops);
  if (wanted.bytes) add_unit(byte_unit(kManyByteRows), &rates.byte_gflops, &rates.byte_register_gflops);
  std::unique_ptr<Walk> walk;
  if (wanted.read || wanted.read_write) walk = std::make_unique<Walk>(num_threads());
  if (wanted.read) {
    kinds.push_back({&rates.read_gbps, true, [&](int thread, int64_t count) {
                       return walk->next(thread, count, [](const float* data, int64_t floats) {
                         float sink = 0;
                         HWY_DYNAMIC_DISPATCH(read_all)(data, floats, &sink);
                         g_sink = sink;
                       });
                     }});
  }
  if (wanted.read_write) {
    kinds.push_back({&rates.read_write_gbps, true, [&](int thread, int64_t count) {
                       return 2 * walk->next(thread, count, [](float* data, int64_t floats) {
                         HWY_DYNAMIC_DISPATCH(read_write_all)(data, floats);
                       });
                     }});
  }
  measure(kinds);
  return rates;
}

}  // namespace lt2
#endif
