#include "ops/simd/tile_unit.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "base/log.h"
#include "ops/simd/amx_tiles.h"
#include "ops/simd/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lt2 {
namespace {

void nothing() {}

float widen(uint16_t v) {
  const uint32_t bits = static_cast<uint32_t>(v) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

void emulated_multiply(const TileBlock& t) {
  for (int64_t m = 0; m < t.rows; ++m) {
    for (int64_t n = 0; n < kTilePanel; ++n) {
      float sum = t.fresh ? 0 : t.c[m * t.ldc + n];
      for (int64_t k = 0; k < t.steps * kTileDepth; ++k) {
        const int64_t step = k / kTileDepth, within = k % kTileDepth;
        const uint16_t* tile = t.b + step * kTileStepB + n / kTileSide * (kTileDepth * kTileSide);
        sum += widen(t.a[(step * t.rows + m) * kTileDepth + within]) *
               widen(tile[within / 2 * 2 * kTileSide + n % kTileSide * 2 + within % 2]);
      }
      t.c[m * t.ldc + n] = sum;
    }
  }
}

double no_chains(int64_t) { return 0; }

#if defined(__x86_64__)

// Steps of operands for loaded_chains: with 32 rows 32 KiB, which every first-level cache of such processors holds.
constexpr int64_t kLoadedSteps = 8;

/// Random bf16 numbers between 1 and 2 and their negatives: A of at most 32 rows, then B, of kLoadedSteps steps.
const uint16_t* loaded_numbers() {
  const auto draw = [] {
    std::vector<uint16_t> out(2 * kLoadedSteps * kTileStepB);
    uint32_t state = 1;
    for (auto& v : out) {
      state = state * 1664525u + 1013904223u;
      v = static_cast<uint16_t>(0x3f80 | (state >> 16 & 0x807f));
    }
    return out;
  };
  thread_local const auto numbers = draw();
  return numbers.data();
}

// The compiler's tile intrinsics do not say that they read memory: what they read is written elsewhere, in functions
// that are not inlined here.
#define LT2_AMX __attribute__((target("amx-tile,amx-bf16")))

LT2_AMX void amx_begin() { _tile_loadconfig(&kWholeAmxTiles); }
LT2_AMX void amx_end() { _tile_release(); }

// Tiles 0 to 3 hold C, 4 and 5 rows of A, 6 and 7 columns of B.
LT2_AMX void amx_multiply(const TileBlock& t) {
  constexpr int64_t kTile = kTileSide * kTileDepth, kRowBytes = 2 * kTileDepth;
  const bool two = t.rows > kTileSide;
  const int64_t ld = t.ldc * static_cast<int64_t>(sizeof(float));
  float* below = t.c + kTileSide * t.ldc;
  if (t.fresh) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, t.c, ld);
    _tile_loadd(1, t.c + kTileSide, ld);
    if (two) {
      _tile_loadd(2, below, ld);
      _tile_loadd(3, below + kTileSide, ld);
    }
  }
  const uint16_t *a = t.a, *b = t.b;
  for (int64_t s = 0; s < t.steps; ++s, b += kTileStepB) {
    _tile_loadd(4, a, kRowBytes);
    _tile_loadd(6, b, kRowBytes);
    _tile_loadd(7, b + kTile, kRowBytes);
    if (two) {
      _tile_loadd(5, a + kTile, kRowBytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      a += 2 * kTile;
    } else {  // waits for memory: reach ahead of the hardware
      for (int64_t i = 0; i < kTileStepB; i += 32) __builtin_prefetch(b + 2 * kTileStepB + i);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      a += kTile;
    }
  }
  _tile_stored(0, t.c, ld);
  _tile_stored(1, t.c + kTileSide, ld);
  if (two) {
    _tile_stored(2, below, ld);
    _tile_stored(3, below + kTileSide, ld);
  }
}

LT2_AMX double amx_chains(int64_t count) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(6);
  for (int64_t i = 0; i < count; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 6);
  }
  return 4.0 * 2 * kTileSide * kTileSide * kTileDepth * static_cast<double>(count);
}

// The loop of amx_multiply over operands that stay in the cache, without storing the sums.
LT2_AMX double amx_loaded_chains(int64_t count) {
  constexpr int64_t kTile = kTileSide * kTileDepth, kRowBytes = 2 * kTileDepth;
  const uint16_t* const numbers = loaded_numbers();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t *a = numbers, *b = a + kLoadedSteps * kTileStepB;
    for (int64_t s = 0; s < kLoadedSteps; ++s, a += 2 * kTile, b += kTileStepB) {
      _tile_loadd(4, a, kRowBytes);
      _tile_loadd(6, b, kRowBytes);
      _tile_loadd(7, b + kTile, kRowBytes);
      _tile_loadd(5, a + kTile, kRowBytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  return 4.0 * 2 * kTileSide * kTileSide * kTileDepth * static_cast<double>(count * kLoadedSteps);
}

#undef LT2_AMX
#define LT2_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

constexpr int64_t kBf16Rows = 12;  // two vectors of sums each, of 32 registers

LT2_AVX512_BF16 inline __m512bh pairs(const uint16_t* p) { return (__m512bh)_mm512_loadu_si512(p); }
LT2_AVX512_BF16 inline __m512bh one_pair(const uint16_t* p) {
  int32_t both;
  __builtin_memcpy(&both, p, sizeof(both));
  return (__m512bh)_mm512_set1_epi32(both);
}

template <int kRows>
LT2_AVX512_BF16 void avx512_bf16_rows(const TileBlock& t) {
  __m512 sum[kRows][2];
#pragma GCC unroll 12
  for (int m = 0; m < kRows; ++m) {
    const float* c = t.c + m * t.ldc;
    sum[m][0] = t.fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(c);
    sum[m][1] = t.fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(c + kTileSide);
  }
  const uint16_t *a = t.a, *b = t.b;
  for (int64_t s = 0; s < t.steps; ++s) {
    for (int64_t k = 0; k < kTileDepth; k += 2) {
      const uint16_t* row = b + k * kTileSide;
      const __m512bh b0 = pairs(row), b1 = pairs(row + kTileDepth * kTileSide);
      if (kRows < kBf16Rows) {
        __builtin_prefetch(row + 2 * kTileStepB);
        __builtin_prefetch(row + 2 * kTileStepB + kTileDepth * kTileSide);
      }
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m) {
        const __m512bh am = one_pair(a + m * kTileDepth + k);
        sum[m][0] = _mm512_dpbf16_ps(sum[m][0], am, b0);
        sum[m][1] = _mm512_dpbf16_ps(sum[m][1], am, b1);
      }
    }
    a += kRows * kTileDepth;
    b += kTileStepB;
  }
#pragma GCC unroll 12
  for (int m = 0; m < kRows; ++m) {
    _mm512_storeu_ps(t.c + m * t.ldc, sum[m][0]);
    _mm512_storeu_ps(t.c + m * t.ldc + kTileSide, sum[m][1]);
  }
}

void avx512_bf16_multiply(const TileBlock& t) {
  constexpr void (*kByRows[])(const TileBlock&) = {avx512_bf16_rows<1>,  avx512_bf16_rows<2>,  avx512_bf16_rows<3>,
                                                   avx512_bf16_rows<4>,  avx512_bf16_rows<5>,  avx512_bf16_rows<6>,
                                                   avx512_bf16_rows<7>,  avx512_bf16_rows<8>,  avx512_bf16_rows<9>,
                                                   avx512_bf16_rows<10>, avx512_bf16_rows<11>, avx512_bf16_rows<12>};
  kByRows[t.rows - 1](t);
}

LT2_AVX512_BF16 double avx512_bf16_chains(int64_t count) {
  constexpr int kChains = 16;
  __m512 sum[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f803f80), b = (__m512bh)_mm512_set1_epi32(0x3c003c00);
  for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) sum[j] = _mm512_dpbf16_ps(sum[j], a, b);
  }
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  volatile float sink = _mm512_cvtss_f32(sum[0]);
  (void)sink;
  return 2.0 * 2 * 16 * kChains * static_cast<double>(count);
}

#undef LT2_AVX512_BF16

// Vectors hold their sums over a whole block: its stores do not count.
double avx512_bf16_loaded_chains(int64_t count) {
  const uint16_t* const numbers = loaded_numbers();
  float c[kBf16Rows * kTilePanel];
  const TileBlock block{.steps = kLoadedSteps,
                        .rows = kBf16Rows,
                        .a = numbers,
                        .b = numbers + kLoadedSteps * kTileStepB,
                        .c = c,
                        .ldc = kTilePanel,
                        .fresh = true};
  for (int64_t i = 0; i < count; ++i) avx512_bf16_multiply(block);
  return 2.0 * kBf16Rows * kTilePanel * kTileDepth * static_cast<double>(count * kLoadedSteps);
}

constexpr TileUnit kAmx{.name = "AMX tiles",
                        .rows = 2 * kTileSide,
                        .row_step = kTileSide,
                        .begin = amx_begin,
                        .multiply = amx_multiply,
                        .end = amx_end,
                        .chains = amx_chains,
                        .loaded_chains = amx_loaded_chains};
constexpr TileUnit kAvx512Bf16{.name = "AVX-512-BF16",
                               .rows = kBf16Rows,
                               .row_step = 1,
                               .begin = nothing,
                               .multiply = avx512_bf16_multiply,
                               .end = nothing,
                               .chains = avx512_bf16_chains,
                               .loaded_chains = avx512_bf16_loaded_chains};

#endif

const TileUnit* checked(bool present, const TileUnit* unit) {
  if (!present || unit == nullptr) return nullptr;
  if (tile_unit_is_right(*unit)) return unit;
  log_warning("the processor's {} gave wrong products in a check at the start; bf16 products do without", unit->name);
  return nullptr;
}

const TileUnit* best_unit() {
  const CpuInfo& cpu = cpu_info();
  const TileUnit* unit = checked(cpu.amx_bf16, amx_unit());
  return unit != nullptr ? unit : checked(cpu.avx512_bf16, avx512_bf16_unit());
}

std::atomic<bool> g_forced{false};
std::atomic<const TileUnit*> g_forced_unit{nullptr};

}  // namespace

constexpr TileUnit kEmulatedAmx{"emulated AMX tiles", 2 * kTileSide, kTileSide, nothing,
                                emulated_multiply,    nothing,       no_chains, no_chains};
constexpr TileUnit kEmulatedAvx512Bf16{"emulated AVX-512-BF16", 12,      1,         nothing,
                                       emulated_multiply,       nothing, no_chains, no_chains};

#if defined(__x86_64__)
const TileUnit* amx_unit() { return &kAmx; }
const TileUnit* avx512_bf16_unit() { return &kAvx512Bf16; }
#else
const TileUnit* amx_unit() { return nullptr; }
const TileUnit* avx512_bf16_unit() { return nullptr; }
#endif

bool tile_unit_is_right(const TileUnit& unit) {
  constexpr int64_t kSteps = 2, kLd = kTilePanel + 8;
  uint32_t state = 1;
  // -8 .. 8, exact in bf16 as are all sums in fp32.
  const auto draw = [&] {
    state = state * 1664525u + 1013904223u;
    const float value = static_cast<float>(static_cast<int>(state >> 16) % 17 - 8);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return static_cast<uint16_t>(bits >> 16);
  };
  for (int64_t rows = unit.row_step; rows <= unit.rows; rows += unit.row_step) {
    std::vector<uint16_t> a(static_cast<size_t>(kSteps * rows * kTileDepth)), b(kSteps * kTileStepB);
    for (auto& v : a) v = draw();
    for (auto& v : b) v = draw();
    std::vector<float> truth(static_cast<size_t>(rows * kLd), 3), found = truth;
    for (const bool fresh : {true, false}) {
      emulated_multiply({kSteps, rows, a.data(), b.data(), truth.data(), kLd, fresh});
      unit.begin();
      unit.multiply({kSteps, rows, a.data(), b.data(), found.data(), kLd, fresh});
      unit.end();
      if (found != truth) return false;
    }
  }
  return true;
}

const TileUnit* tile_unit() {
  if (g_forced.load(std::memory_order_relaxed)) return g_forced_unit.load(std::memory_order_relaxed);
  static const TileUnit* const best = best_unit();
  return best != nullptr && kernel_isa() == "AVX-512" ? best : nullptr;
}

void tile_unit_force(const TileUnit* unit) {
  g_forced_unit = unit;
  g_forced = true;
}

void tile_unit_reset() { g_forced = false; }

}  // namespace lt2
