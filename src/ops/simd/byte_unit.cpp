#include "ops/simd/byte_unit.h"

#include <algorithm>
#include <atomic>
#include <cmath>
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

constexpr int64_t kLine = 64;  // bytes of B that hold four elements of 16 channels, eight of int4
constexpr int64_t kInt8Offset = 128, kInt4Offset = 8;

void nothing() {}

// What the numbers of A have too much because those of B are not negative.
template <bool kInt4>
int32_t excess(const ByteBlock& t, int64_t row, int64_t step) {
  const int32_t* sums = t.sums + row * (kByteBlock / kByteStep);
  if (kInt4) return static_cast<int32_t>(kInt4Offset) * sums[step];
  return static_cast<int32_t>(kInt8Offset) * (sums[0] + sums[1] + sums[2] + sums[3]);
}

float widen(uint16_t v) {
  const uint32_t bits = static_cast<uint32_t>(v) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

int32_t weight_at(const ByteBlock& t, int64_t n, int64_t k) {
  const uint8_t* panel = t.b + n / kByteSide * t.panel;
  if (t.scales == nullptr) return panel[k / 4 * kLine + n % kByteSide * 4 + k % 4];
  return panel[k / 8 * kLine + n % kByteSide * 4 + k % 4] >> (k % 8 / 4 * 4) & 15;
}

void emulated_multiply(const ByteBlock& t) {
  const int64_t group = t.scales != nullptr ? kByteStep : kByteBlock;
  for (int64_t m = 0; m < t.rows; ++m) {
    for (int64_t n = 0; n < t.panels * kByteSide; ++n) {
      float sum = t.fresh ? 0 : t.c[m * t.ldc + n];
      for (int64_t k0 = 0; k0 < t.depth; k0 += group) {
        int32_t whole = -(t.scales != nullptr ? excess<true> : excess<false>)(t, m, k0 / kByteStep);
        for (int64_t k = k0; k < std::min(k0 + group, t.depth); ++k) {
          const int8_t* a = t.a + (k / kByteStep * t.rows + m) * 2 * kByteStep + k % kByteStep;
          whole += (a[0] * 256 + a[kByteStep]) * weight_at(t, n, k);
        }
        float scale = t.a_scales[m];
        if (t.scales != nullptr) {
          scale *= widen(t.scales[n / kByteSide * t.scales_panel + k0 / kByteStep * kByteSide + n % kByteSide]);
        }
        sum = std::fma(static_cast<float>(whole), scale, sum);
      }
      t.c[m * t.ldc + n] = sum;
    }
  }
}

double no_chains(int64_t) { return 0; }

constexpr int64_t kVnniRows = 6;
// As many sums (a high and a low one for each row and panel) as hide the latency and fit 32 registers.
int64_t vnni_panels(int64_t rows) { return rows <= 3 ? 4 : 2; }
constexpr int64_t kAmxRows = 32, kAmxRowStep = 16;
int64_t amx_panels(int64_t) { return 1; }

// Operands of a unit's largest block of int8, drawn at random: 12 to 32 KiB with a panel or two.
struct LoadedBlock {
  std::vector<int8_t> a;
  std::vector<uint8_t> b;
  std::vector<int32_t> sums;
  std::vector<float> a_scales, c;
  ByteBlock block;

  LoadedBlock(int64_t rows, int64_t panels)
      : a(static_cast<size_t>(rows * 2 * kByteBlock)),
        b(static_cast<size_t>(panels * kByteBlock * kByteSide)),
        sums(static_cast<size_t>(rows * kByteBlock / kByteStep)),
        a_scales(static_cast<size_t>(rows), 1.F),
        c(static_cast<size_t>(rows * panels * kByteSide)) {
    uint32_t state = 1;
    const auto draw = [&] { return (state = state * 1664525u + 1013904223u) >> 24; };
    for (auto& v : a) v = static_cast<int8_t>(draw());
    for (auto& v : b) v = static_cast<uint8_t>(draw());
    block = {.depth = kByteBlock,
             .rows = rows,
             .panels = panels,
             .a = a.data(),
             .a_scales = a_scales.data(),
             .sums = sums.data(),
             .b = b.data(),
             .panel = kByteBlock * kByteSide,
             .scales = nullptr,
             .scales_panel = 0,
             .c = c.data(),
             .ldc = panels * kByteSide,
             .fresh = true};
  }
};

// Outside the parts that are compiled for one processor: what the library puts inline here is everybody's.
const ByteBlock& loaded_vnni_block() {
  thread_local const LoadedBlock loaded(kVnniRows, vnni_panels(kVnniRows));
  return loaded.block;
}
const ByteBlock& loaded_amx_block() {
  thread_local const LoadedBlock loaded(kAmxRows, amx_panels(kAmxRows));
  return loaded.block;
}
double operations_of(const ByteBlock& t) { return 2.0 * static_cast<double>(t.rows * t.panels * kByteSide * t.depth); }

}  // namespace
}  // namespace lt2

#if defined(__x86_64__)
// The compiler's own AVX-512 headers leave registers undefined on purpose, and it warns of that (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")

namespace lt2 {
namespace {
namespace vnni {

// Bytes that memory is read ahead of the hardware.
constexpr ptrdiff_t kAhead = 1024;

__attribute__((always_inline)) inline __m512i line(const uint8_t* p) { return _mm512_loadu_si512(p); }

__attribute__((always_inline)) inline __m512 group_scales(const ByteBlock& t, int64_t panel, int64_t step) {
  const auto* p = reinterpret_cast<const __m256i*>(t.scales + panel * t.scales_panel + step * kByteSide);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}

// sum += dots of four bytes. Written out because the compiler's own instruction (GCC 12) comes with copies of the sums,
// which then no longer fit the registers.
__attribute__((always_inline)) inline void add_dots(__m512i& sum, __m512i b, __m512i a) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(b), "v"(a));
}

// A quad of bytes of A for all channels.
__attribute__((always_inline)) inline __m512i quad(const int8_t* p) {
  int32_t bytes;
  __builtin_memcpy(&bytes, p, sizeof(bytes));
  return _mm512_set1_epi32(bytes);
}

template <int MR, int NV, bool kInt4>
void rows(const ByteBlock& t) {
  constexpr int64_t kGroup = kInt4 ? kByteStep : kByteBlock, kPack = kInt4 ? 8 : 4;
  const __m512i mask = _mm512_set1_epi8(15);
  const uint8_t* from = t.b;
  for (int64_t k0 = 0; k0 < t.depth; k0 += kGroup) {
    __m512i high[MR][NV], low[MR][NV];
#pragma GCC unroll 6
    for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        high[m][n] = _mm512_setzero_si512();
        low[m][n] = _mm512_set1_epi32(-excess<kInt4>(t, m, k0 / kByteStep));
      }
    }
    // b: four numbers of each channel, a: where the first row has its four.
    const auto add = [&](const __m512i(&b)[NV], const int8_t* a) __attribute__((always_inline)) {
#pragma GCC unroll 6
      for (int m = 0; m < MR; ++m) {
        const __m512i h = quad(a + m * 2 * kByteStep), l = quad(a + (m * 2 + 1) * kByteStep);
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          add_dots(high[m][n], b[n], h);
          add_dots(low[m][n], b[n], l);
        }
      }
    };
    const int64_t end = std::min(k0 + kGroup, t.depth);
    for (int64_t k = k0; k < end; k += kByteStep) {
      const int8_t* a = t.a + k / kByteStep * (MR * 2 * kByteStep);
      const int8_t* const last = a + (std::min(kByteStep, end - k) + kPack - 1) / kPack * kPack;
      for (; a != last; a += kPack, from += kLine) {
        __m512i b[NV];
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          __builtin_prefetch(from + n * t.panel + kAhead);
          const __m512i word = line(from + n * t.panel);
          b[n] = kInt4 ? _mm512_and_si512(word, mask) : word;
        }
        add(b, a);
        if constexpr (kInt4) {
#pragma GCC unroll 4
          for (int n = 0; n < NV; ++n) {
            b[n] = _mm512_and_si512(_mm512_srli_epi16(line(from + n * t.panel), 4), mask);
          }
          add(b, a + 4);
        }
      }
    }
    const bool fresh = t.fresh && k0 == 0;
    __m512 scale[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      if (!kInt4) continue;
      scale[n] = group_scales(t, n, k0 / kByteStep);
      // Of the panels that come next: a row of scales is too short for the hardware to look ahead in.
      __builtin_prefetch(t.scales + (NV + n) * t.scales_panel + k0 / kByteStep * kByteSide);
    }
#pragma GCC unroll 6
    for (int m = 0; m < MR; ++m) {
      const __m512 unit = _mm512_set1_ps(t.a_scales[m]);
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        float* c = t.c + m * t.ldc + n * kByteSide;
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high[m][n], 8), low[m][n]));
        const __m512 by = kInt4 ? _mm512_mul_ps(unit, scale[n]) : unit;
        _mm512_storeu_ps(c, _mm512_fmadd_ps(sum, by, fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(c)));
      }
    }
  }
}

template <int MR, int NV>
void rows(const ByteBlock& t) {
  t.scales != nullptr ? rows<MR, NV, true>(t) : rows<MR, NV, false>(t);
}

template <int NV>
void multiply(const ByteBlock& t) {
  switch (t.rows) {
    case 1:
      return rows<1, NV>(t);
    case 2:
      return rows<2, NV>(t);
    case 3:
      return rows<3, NV>(t);
    default:
      break;
  }
  if constexpr (NV <= 2) {
    switch (t.rows) {
      case 4:
        return rows<4, NV>(t);
      case 5:
        return rows<5, NV>(t);
      default:
        return rows<6, NV>(t);
    }
  }
}

void multiply_any(const ByteBlock& t) {
  switch (t.panels) {
    case 1:
      return multiply<1>(t);
    case 2:
      return multiply<2>(t);
    default:
      return multiply<4>(t);
  }
}

double chains(int64_t count) {
  constexpr int kChains = 12;
  __m512i sum[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-1);
  for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) add_dots(sum[j], a, b);
  }
#pragma GCC unroll 12
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  volatile int sink = _mm512_cvtsi512_si32(sum[0]);
  (void)sink;
  return 2.0 * 64 / 2 * kChains * static_cast<double>(count);
}

double loaded_chains(int64_t count) {
  const ByteBlock& t = loaded_vnni_block();
  for (int64_t i = 0; i < count; ++i) multiply_any(t);
  return operations_of(t) * static_cast<double>(count);
}

}  // namespace vnni
}  // namespace
}  // namespace lt2

#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,amx-tile,amx-int8")

namespace lt2 {
namespace {
namespace amx {

constexpr ptrdiff_t kRowBytes = 2 * kByteStep;
constexpr ptrdiff_t kTileInts = kAmxRowStep * kByteSide;
constexpr ptrdiff_t kInt8Step = kByteStep * kByteSide, kInt4Step = kInt8Step / 2;  // bytes of B

void begin() { _tile_loadconfig(&kWholeAmxTiles); }
void end() { _tile_release(); }

// The step's weights as a tile of B, bytes [16 quads][16][4]: in place, or unpacked.
__attribute__((always_inline)) inline const uint8_t* tile_of(const ByteBlock& t, int64_t k0, uint8_t* room) {
  const int64_t depth = std::min(kByteStep, t.depth - k0), bytes = t.scales == nullptr ? kInt8Step : kInt4Step;
  const uint8_t* from = t.b + k0 / kByteStep * bytes;
  for (int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(from + 2 * kInt8Step + i);  // a wait for memory
  if (t.scales == nullptr) {
    if (depth == kByteStep) return from;
    std::memcpy(room, from, static_cast<size_t>((depth + 3) / 4 * kLine));
    return room;
  }
  const __m512i mask = _mm512_set1_epi8(15);
  for (int64_t w = 0; w < (depth + 7) / 8; ++w) {
    const __m512i word = _mm512_loadu_si512(from + w * kLine);
    _mm512_storeu_si512(room + 2 * w * kLine, _mm512_and_si512(word, mask));
    _mm512_storeu_si512(room + (2 * w + 1) * kLine, _mm512_and_si512(_mm512_srli_epi16(word, 4), mask));
  }
  return room;
}

// Tiles 0 to 3 hold high and low sums of 16 rows, then of the next 16; 4 to 7 the same of A; B takes turns with A.
void multiply(const ByteBlock& t) {
  const bool two = t.rows > kAmxRowStep;
  alignas(64) uint8_t room[kByteStep * kByteSide] = {};
  alignas(64) int32_t sums[4 * kTileInts];
  const bool grouped = t.scales != nullptr;
  for (int64_t k0 = 0; k0 < t.depth; k0 += kByteStep) {
    const int64_t step = k0 / kByteStep;
    if (grouped || k0 == 0) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    const uint8_t* b = tile_of(t, k0, room);
    // The compiler does not know that tiles read memory.
    __asm__ volatile("" ::: "memory");
    const int8_t* a = t.a + step * t.rows * kRowBytes;
    _tile_loadd(6, b, kLine);
    _tile_loadd(4, a, kRowBytes);
    _tile_loadd(5, a + kByteStep, kRowBytes);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 5, 6);
    if (two) {
      const int8_t* below = a + kAmxRowStep * kRowBytes;
      _tile_loadd(4, below, kRowBytes);
      _tile_loadd(5, below + kByteStep, kRowBytes);
      _tile_dpbsud(2, 4, 6);
      _tile_dpbsud(3, 5, 6);
    }
    if (!grouped && k0 + kByteStep < t.depth) continue;
    _tile_stored(0, sums, kLine);
    _tile_stored(1, sums + kTileInts, kLine);
    if (two) {
      _tile_stored(2, sums + 2 * kTileInts, kLine);
      _tile_stored(3, sums + 3 * kTileInts, kLine);
    }
    __asm__ volatile("" ::: "memory");
    __m512 scale = _mm512_setzero_ps();
    if (grouped) {
      const auto* p = reinterpret_cast<const __m256i*>(t.scales + step * kByteSide);
      scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
    }
    const bool fresh = t.fresh && (!grouped || k0 == 0);
    for (int64_t m = 0; m < t.rows; ++m) {
      const int32_t* high = sums + m / kAmxRowStep * 2 * kTileInts + m % kAmxRowStep * kByteSide;
      const __m512i low =
          _mm512_sub_epi32(_mm512_load_si512(high + kTileInts),
                           _mm512_set1_epi32(grouped ? excess<true>(t, m, step) : excess<false>(t, m, step)));
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(high), 8), low));
      const __m512 unit = _mm512_set1_ps(t.a_scales[m]), by = grouped ? _mm512_mul_ps(unit, scale) : unit;
      float* c = t.c + m * t.ldc;
      _mm512_storeu_ps(c, _mm512_fmadd_ps(sum, by, fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(c)));
    }
  }
}

double chains(int64_t count) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(6);
  for (int64_t i = 0; i < count; ++i) {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 6);
    _tile_dpbsud(2, 4, 6);
    _tile_dpbsud(3, 4, 6);
  }
  return 4.0 * 2 * kAmxRowStep * kByteSide * kByteStep / 2 * static_cast<double>(count);
}

// The loop of multiply over operands that stay in the cache; sums leave the tiles with no block, as a block's end is a
// cost of the format and not of the unit.
double loaded_chains(int64_t count) {
  const ByteBlock& t = loaded_amx_block();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t step = 0; step < kByteBlock / kByteStep; ++step) {
      const int8_t* a = t.a + step * kAmxRows * kRowBytes;
      const int8_t* below = a + kAmxRowStep * kRowBytes;
      _tile_loadd(6, t.b + step * kInt8Step, kLine);
      _tile_loadd(4, a, kRowBytes);
      _tile_loadd(5, a + kByteStep, kRowBytes);
      _tile_dpbsud(0, 4, 6);
      _tile_dpbsud(1, 5, 6);
      _tile_loadd(4, below, kRowBytes);
      _tile_loadd(5, below + kByteStep, kRowBytes);
      _tile_dpbsud(2, 4, 6);
      _tile_dpbsud(3, 5, 6);
    }
  }
  return operations_of(t) * static_cast<double>(count);
}

}  // namespace amx

constexpr ByteUnit kVnni{.name = "AVX-512-VNNI",
                         .rows = kVnniRows,
                         .row_step = 1,
                         .panels = vnni_panels,
                         .begin = nothing,
                         .multiply = vnni::multiply_any,
                         .end = nothing,
                         .chains = vnni::chains,
                         .loaded_chains = vnni::loaded_chains};
constexpr ByteUnit kAmx{.name = "AMX tiles",
                        .rows = kAmxRows,
                        .row_step = kAmxRowStep,
                        .panels = amx_panels,
                        .begin = amx::begin,
                        .multiply = amx::multiply,
                        .end = amx::end,
                        .chains = amx::chains,
                        .loaded_chains = amx::loaded_chains};

}  // namespace
}  // namespace lt2

#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif

namespace lt2 {
namespace {

const ByteUnit* checked(bool present, const ByteUnit* unit) {
  if (!present || unit == nullptr) return nullptr;
  if (byte_unit_is_right(*unit)) return unit;
  log_warning("the processor's {} gave wrong products of bytes in a check at the start; int8 and int4 do without",
              unit->name);
  return nullptr;
}

struct Units {
  const ByteUnit* few_rows = checked(cpu_info().avx512_vnni, vnni_unit());
  const ByteUnit* many_rows = checked(cpu_info().amx_int8, amx_byte_unit());
};

std::atomic<bool> g_forced{false};
std::atomic<const ByteUnit*> g_forced_unit{nullptr};

}  // namespace

constexpr ByteUnit kEmulatedVnni{"emulated AVX-512-VNNI", kVnniRows, 1,         vnni_panels, nothing,
                                 emulated_multiply,       nothing,   no_chains, no_chains};
constexpr ByteUnit kEmulatedAmxBytes{"emulated AMX tiles", kAmxRows, kAmxRowStep, amx_panels, nothing,
                                     emulated_multiply,    nothing,  no_chains,   no_chains};

#if defined(__x86_64__)
const ByteUnit* vnni_unit() { return &kVnni; }
const ByteUnit* amx_byte_unit() { return &kAmx; }
#else
const ByteUnit* vnni_unit() { return nullptr; }
const ByteUnit* amx_byte_unit() { return nullptr; }
#endif

bool byte_unit_is_right(const ByteUnit& unit) {
  constexpr int64_t kSteps = kByteBlock / kByteStep;
  constexpr ptrdiff_t kLd = kByteMostPanels * kByteSide + 8;
  uint32_t state = 1;
  const auto draw = [&] { return static_cast<uint8_t>((state = state * 1664525u + 1013904223u) >> 24); };
  for (int64_t rows = unit.row_step; rows <= unit.rows; rows += unit.row_step) {
    for (const int64_t depth : {kByteBlock, kByteBlock - kByteStep - 13}) {
      std::vector<int8_t> a(static_cast<size_t>(kSteps * rows * 2 * kByteStep));
      std::vector<uint8_t> b(kByteMostPanels * kByteBlock * kByteSide);
      std::vector<uint16_t> scales(kByteMostPanels * kSteps * kByteSide);
      std::vector<int32_t> sums(static_cast<size_t>(rows * kSteps));
      std::vector<float> units(static_cast<size_t>(rows));
      for (auto& v : b) v = draw();
      for (auto& v : scales) v = static_cast<uint16_t>(0x3f00 + draw());
      for (auto& v : units) v = std::ldexp(1.f, draw() % 4 - 8);
      for (int64_t k = 0; k < depth; ++k) {
        for (int64_t m = 0; m < rows; ++m) {
          int8_t* at = a.data() + (k / kByteStep * rows + m) * 2 * kByteStep + k % kByteStep;
          at[0] = static_cast<int8_t>(draw() % 255 - 127);
          at[kByteStep] = static_cast<int8_t>(draw());
          sums[static_cast<size_t>(m * kSteps + k / kByteStep)] += at[0] * 256 + at[kByteStep];
        }
      }
      for (const bool int4 : {false, true}) {
        for (const bool fresh : {true, false}) {
          for (int64_t more = rows - 1; more <= unit.rows; ++more) {
            const int64_t panels = more < rows ? 1 : unit.panels(more);
            std::vector<float> truth(static_cast<size_t>(rows * kLd), 3), found = truth;
            const auto block = [&](float* c) {
              return ByteBlock{depth,
                               rows,
                               panels,
                               a.data(),
                               units.data(),
                               sums.data(),
                               b.data(),
                               kByteBlock * kByteSide,
                               int4 ? scales.data() : nullptr,
                               kSteps * kByteSide,
                               c,
                               kLd,
                               fresh};
            };
            emulated_multiply(block(truth.data()));
            unit.begin();
            unit.multiply(block(found.data()));
            unit.end();
            if (std::memcmp(found.data(), truth.data(), found.size() * sizeof(float)) != 0) return false;
          }
        }
      }
    }
  }
  return true;
}

const ByteUnit* byte_unit(int64_t rows) {
  if (g_forced.load(std::memory_order_relaxed)) return g_forced_unit.load(std::memory_order_relaxed);
  static const Units units;
  const bool few = units.many_rows == nullptr || (units.few_rows != nullptr && rows <= units.few_rows->rows);
  const ByteUnit* best = few ? units.few_rows : units.many_rows;
  return best != nullptr && kernel_isa() == "AVX-512" ? best : nullptr;
}

void byte_unit_force(const ByteUnit* unit) {
  g_forced_unit = unit;
  g_forced = true;
}

void byte_unit_reset() { g_forced = false; }

}  // namespace lt2
