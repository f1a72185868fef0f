// One blocked product serves y = x W^T, dx = dy W and dw = dy^T x:  C [M, N] = A [M, K] B [K, N], where A and B are
// repacked on the way into the caches and C is finished (residual, rounding) while it still lies there.
#include "ops/linear/byte_product.h"
#include "ops/linear/kernel.h"
#include "ops/linear/tile_product.h"
#include "ops/simd/byte_unit.h"
#include "ops/simd/targets.h"
#include "ops/simd/tile_unit.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/linear_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/linear/finish-inl.h"
#include "ops/linear/quantised-inl.h"

// clang-format off: the order above is Highway's
#include <algorithm>
#include <cstring>

#include "base/threads.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// Rows of A and depth of one block: its 256 KiB stay in L2 while all panels pass by.
constexpr int64_t kBlockRows = 256;
constexpr int64_t kBlockDepth = 256;
// Depth of B that is packed beforehand at a time, for all threads: bounds the memory it takes.
constexpr int64_t kSliceDepth = 2048;
// Panels of B repacked at a time where B does not lie in fp32 panels.
constexpr int64_t kPanelsAtOnce = 4;
// Panels a task covers at most: bounds its fp32 block of C.
constexpr int64_t kTaskPanels = 21;
// Up to this many rows one tile spans all of M, and the weight streams from memory once.
constexpr int64_t kFewRows = kTileRows;
constexpr ptrdiff_t kPrefetchMemory = 4096, kPrefetchL2 = 1536;
constexpr int64_t kRowsAhead = 8;
// Multiply-adds below which a second thread costs more than it saves.
constexpr int64_t kThreadWork = 1 << 16;

int64_t lanes() { return static_cast<int64_t>(hn::Lanes(F())); }
int64_t panel_width() { return kTileVecs * lanes(); }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

float widen(float v) { return v; }
float widen(uint16_t v) {
  const uint32_t bits = static_cast<uint32_t>(v) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}
// Rows of a matrix lie pages apart, where the hardware does not look ahead.
template <typename T>
void prefetch_row(const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(from + i);
}

HWY_INLINE VF round_to_bf16(VF v) { return hn::BitCast(F(), hn::ShiftLeft<16>(round_to_bf16_bits(v))); }

// to [padded] = from [count] as fp32, then zeros.
template <bool kRound, typename T>
void widen_row(const T* from, int64_t count, int64_t padded, float* to) {
  for_each_vector(count, [&](int64_t i, auto part) HWY_ATTR {
    const VF v = load(from + i, part);
    store(kRound ? round_to_bf16(v) : v, to + i, part);
  });
  std::fill(to + count, to + padded, 0.f);
}

void narrow_row(const float* from, int64_t count, uint16_t* to) {
  for_each_vector(count, [&](int64_t i, auto part) HWY_ATTR { store(load(from + i, part), to + i, part); });
}

// One tile of C: MR rows by NV vectors, the last of which has `last` valid lanes. a is [K, MR], b is [K, ldb]. kScaled:
// every kQuantGroup of the depth is summed up from zero and added to C times its scales [groups, ldb].
template <int MR, int NV, bool kScaled, typename T>
HWY_INLINE void tile(int64_t K, const float* HWY_RESTRICT a, const T* HWY_RESTRICT b, ptrdiff_t ldb,
                     float* HWY_RESTRICT c, ptrdiff_t ldc, size_t last, bool fresh, const float* scale) {
  const F d;
  const ptrdiff_t step = static_cast<ptrdiff_t>(hn::Lanes(d));
  const auto mask = hn::FirstN(d, last);
  if constexpr (MR == kTileRows && NV == kTileVecs) {
    // The tile below comes next; its sums lie in L3 by now.
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 3
      for (int n = 0; n < NV; ++n) __builtin_prefetch(c + (MR + m) * ldc + n * step, 1);
    }
  }
  const int64_t group = kScaled ? kQuantGroup : K;
  for (int64_t k0 = 0; k0 < K; k0 += group) {
    VF acc[MR][NV];
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 3
      for (int n = 0; n < NV; ++n) acc[m][n] = hn::Zero(d);
    }
    if (!kScaled && !fresh) {
#pragma GCC unroll 8
      for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 3
        for (int n = 0; n < NV; ++n) {
          const float* p = c + m * ldc + n * step;
          acc[m][n] = n == NV - 1 ? hn::MaskedLoad(mask, d, p) : hn::LoadU(d, p);
        }
      }
    }
    const int64_t end = kScaled ? std::min(k0 + group, K) : K;
    for (int64_t k = k0; k < end; ++k) {
      VF bv[NV];
#pragma GCC unroll 3
      for (int n = 0; n < NV; ++n) bv[n] = load(b + n * step, Whole());
      // Few rows wait for memory: reach further ahead than the hardware does. Many wait for L2.
      constexpr ptrdiff_t kAhead = (MR < kTileRows ? kPrefetchMemory : kPrefetchL2) / static_cast<ptrdiff_t>(sizeof(T));
#pragma GCC unroll 3
      for (int n = 0; n < NV; ++n) __builtin_prefetch(b + n * step + kAhead);
      b += ldb;
#pragma GCC unroll 8
      for (int m = 0; m < MR; ++m) {
        const VF av = hn::Set(d, a[m]);
#pragma GCC unroll 3
        for (int n = 0; n < NV; ++n) acc[m][n] = hn::MulAdd(av, bv[n], acc[m][n]);
      }
      a += MR;
    }
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 3
      for (int n = 0; n < NV; ++n) {
        float* p = c + m * ldc + n * step;
        if constexpr (kScaled) {
          const bool first = fresh && k0 == 0;
          const VF before = first ? hn::Zero(d) : n == NV - 1 ? hn::MaskedLoad(mask, d, p) : hn::LoadU(d, p);
          acc[m][n] = hn::MulAdd(acc[m][n], hn::LoadU(d, scale + n * step), before);
        }
        if (n == NV - 1) {
          hn::BlendedStore(acc[m][n], mask, d, p);
        } else {
          hn::StoreU(acc[m][n], d, p);
        }
      }
    }
    if constexpr (kScaled) scale += ldb;
  }
}

template <int NV, bool kScaled, typename T>
void tile_rows(int64_t rows, int64_t K, const float* a, const T* b, ptrdiff_t ldb, float* c, ptrdiff_t ldc, size_t last,
               bool fresh, const float* scale) {
  switch (rows) {
#define LT2_TILE(MR)                                                                                   \
  case MR:                                                                                             \
    if constexpr (MR <= kTileRows) tile<MR, NV, kScaled, T>(K, a, b, ldb, c, ldc, last, fresh, scale); \
    break;
    // clang-format off
    LT2_TILE(1) LT2_TILE(2) LT2_TILE(3) LT2_TILE(4) LT2_TILE(5) LT2_TILE(6) LT2_TILE(7) LT2_TILE(8)
    // clang-format on
#undef LT2_TILE
        default : break;
  }
}

// C [rows, cols] with rows <= kTileRows, cols <= panel width.
template <bool kScaled = false, typename T>
void tile_any(int64_t rows, int64_t cols, int64_t K, const float* a, const T* b, ptrdiff_t ldb, float* c, ptrdiff_t ldc,
              bool fresh, const float* scale = nullptr) {
  const int64_t step = lanes();
  const size_t last = static_cast<size_t>((cols - 1) % step + 1);
  switch (divide_up(cols, step)) {
    case 1:
      return tile_rows<1, kScaled, T>(rows, K, a, b, ldb, c, ldc, last, fresh, scale);
    case 2:
      return tile_rows<2, kScaled, T>(rows, K, a, b, ldb, c, ldc, last, fresh, scale);
    default:
      return tile_rows<3, kScaled, T>(rows, K, a, b, ldb, c, ldc, last, fresh, scale);
  }
}

// Where A [M, K] comes from: row-major, or the transpose of a row-major matrix.
struct SourceA {
  Matrix from;
  bool transposed;
};

// out [depth, kTileRows] = in [depth, ld], the first kTileRows columns.
template <typename T>
void copy_tile(const T* HWY_RESTRICT in, ptrdiff_t ld, int64_t depth, float* HWY_RESTRICT out) {
  const hn::CappedTag<float, kTileRows> d;
  const hn::Rebind<uint16_t, decltype(d)> d16;
  const hn::RebindToUnsigned<decltype(d)> d32;
  const ptrdiff_t step = static_cast<ptrdiff_t>(hn::Lanes(d));
  for (int64_t k = 0; k < depth; ++k) {
    for (ptrdiff_t i = 0; i < kTileRows; i += step) {
      const T* p = in + k * ld + i;
      if constexpr (sizeof(T) == sizeof(float)) {
        hn::StoreU(hn::LoadU(d, p), d, out + k * kTileRows + i);
      } else {
        const auto bits = hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, p)));
        hn::StoreU(hn::BitCast(d, bits), d, out + k * kTileRows + i);
      }
    }
  }
}

// Packs A[m0 .. m0 + rows, k0 .. k0 + depth] as tiles [depth, kTileRows], the last tile with as many rows as are left.
template <typename T>
void pack_a(const SourceA& source, int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to) {
  const T* data = static_cast<const T*>(source.from.data);
  const ptrdiff_t ld = source.from.ld;
  constexpr int64_t kSlice = 128;  // of depth, row-major: long enough to convert, short enough for the stack
  if (source.transposed) {
    // A few of the matrix's rows at a time: they stay in L1 while all tiles take their columns.
    constexpr int64_t kRowsAtOnce = 16;
    for (int64_t k = 0; k < depth; k += kRowsAtOnce) {
      const int64_t slice = std::min(kRowsAtOnce, depth - k);
      for (int64_t i = k + slice; i < std::min(depth, k + slice + kRowsAtOnce); ++i) {
        prefetch_row(data + (k0 + i) * ld + m0, rows);
      }
      for (int64_t r = 0; r < rows; r += kTileRows) {
        const int64_t count = std::min<int64_t>(kTileRows, rows - r);
        const T* in = data + (k0 + k) * ld + m0 + r;
        float* out = to + r * depth + k * count;
        if (count == kTileRows) {
          copy_tile(in, ld, slice, out);
          continue;
        }
        for (int64_t i = 0; i < slice; ++i) {
          for (int64_t j = 0; j < count; ++j) out[i * count + j] = widen(in[i * ld + j]);
        }
      }
    }
    return;
  }
  for (int64_t r = 0; r < rows; r += kTileRows) {
    const int64_t count = std::min<int64_t>(kTileRows, rows - r);
    const T* in = data + (m0 + r) * ld + k0;
    float* out = to + r * depth;
    for (int64_t i = kTileRows; i < std::min<int64_t>(2 * kTileRows, rows - r); ++i) prefetch_row(in + i * ld, depth);
    if (count == 1) {
      widen_row<false>(in, depth, depth, out);
    } else if constexpr (sizeof(T) == sizeof(float)) {
      transpose(count, depth, in, ld, out, count);
    } else {
      HWY_ALIGN float rows_f32[kTileRows * kSlice];
      for (int64_t k = 0; k < depth; k += kSlice) {
        const int64_t slice = std::min(kSlice, depth - k);
        for (int64_t i = 0; i < count; ++i) widen_row<false>(in + i * ld + k, slice, slice, rows_f32 + i * kSlice);
        transpose(count, slice, rows_f32, kSlice, out + k * count, count);
      }
    }
  }
}

void pack_a(const SourceA& source, int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to) {
  source.from.element == Element::kF32 ? pack_a<float>(source, m0, rows, k0, depth, to)
                                       : pack_a<uint16_t>(source, m0, rows, k0, depth, to);
}

// Where B [K, N] comes from: panels, or a row-major matrix.
struct SourceB {
  Matrix from;  // in panels: ld unused
  bool panels;
  bool round;                    // row-major only
  const void* scales = nullptr;  // of int8 and int4
  bool tiles = false;            // the panels are those of a bf16 unit

  bool in_place() const { return panels && from.element == Element::kF32; }
};

// Rows k0 .. k0 + depth of B's panel n0 .. n0 + cols, as it lies in fp32 panels.
const float* panel_in_place(const SourceB& source, int64_t K, int64_t n0, int64_t padded, int64_t k0) {
  return static_cast<const float*>(source.from.data) + n0 * K + k0 * padded;
}

// The same rows of columns n0 .. n0 + cols, some whole panels or the last ones, as rows row0 .. of the fp32 panels
// [panel_depth, width] that begin at `to`.
template <bool kRound, typename T>
void pack_b(const SourceB& source, int64_t K, int64_t n0, int64_t cols, int64_t k0, int64_t depth, float* to,
            int64_t panel_depth, int64_t row0) {
  const int64_t width = panel_width();
  const T* data = static_cast<const T*>(source.from.data);
  if (source.panels) {
    for (int64_t n = 0; n < cols; n += width) {
      const int64_t padded = round_up(std::min(width, cols - n), lanes()), count = depth * padded;
      widen_row<false>(data + (n0 + n) * K + k0 * padded, count, count, to + n * panel_depth + row0 * padded);
    }
    return;
  }
  // Row by row, for long reads: the rows lie pages apart.
  for (int64_t k = 0; k < depth; ++k) {
    const T* row = data + (k0 + k) * source.from.ld + n0;
    if (k + kRowsAhead < depth) prefetch_row(row + kRowsAhead * source.from.ld, cols);
    for (int64_t n = 0; n < cols; n += width) {
      const int64_t count = std::min(width, cols - n), padded = round_up(count, lanes());
      widen_row<kRound>(row + n, count, padded, to + n * panel_depth + (row0 + k) * padded);
    }
  }
}

// The same from the panels of a bf16 unit.
void pack_b_tiles(const SourceB& source, int64_t K, int64_t n0, int64_t cols, int64_t k0, int64_t depth, float* to,
                  int64_t panel_depth, int64_t row0) {
  const int64_t width = panel_width();
  const auto* data = static_cast<const uint16_t*>(source.from.data);
  for (int64_t n = 0; n < cols; n += width) {
    const int64_t count = std::min(width, cols - n), padded = round_up(count, lanes());
    for (int64_t k = 0; k < depth; ++k) {
      float* row = to + n * panel_depth + (row0 + k) * padded;
      for (int64_t i = 0; i < count; ++i) row[i] = widen(data[tile_index(K, n0 + n + i, k0 + k)]);
      std::fill(row + count, row + padded, 0.f);
    }
  }
}

// The same from int8 or int4, numbers without their scales.
void pack_b_quantised(const SourceB& source, int64_t K, int64_t n0, int64_t cols, int64_t k0, int64_t depth, float* to,
                      int64_t panel_depth, int64_t row0) {
  const int64_t width = panel_width();
  for (int64_t n = 0; n < cols; n += width) {
    const int64_t padded = round_up(std::min(width, cols - n), lanes());
    float* panel = to + n * panel_depth + row0 * padded;
    for (int64_t i = 0; i < padded; i += lanes()) {
      const auto widen_channels =
          source.from.element == Element::kInt8 ? widen_quantised<Element::kInt8> : widen_quantised<Element::kInt4>;
      widen_channels(source.from.data, K, n0 + n + i, k0, depth, panel + i, padded);
    }
  }
}

void pack_b(const SourceB& source, int64_t K, int64_t n0, int64_t cols, int64_t k0, int64_t depth, float* to,
            int64_t panel_depth, int64_t row0) {
  if (source.tiles) return pack_b_tiles(source, K, n0, cols, k0, depth, to, panel_depth, row0);
  if (source.scales != nullptr) return pack_b_quantised(source, K, n0, cols, k0, depth, to, panel_depth, row0);
  if (source.from.element == Element::kBf16) {
    return pack_b<false, uint16_t>(source, K, n0, cols, k0, depth, to, panel_depth, row0);
  }
  source.round ? pack_b<true, float>(source, K, n0, cols, k0, depth, to, panel_depth, row0)
               : pack_b<false, float>(source, K, n0, cols, k0, depth, to, panel_depth, row0);
}

// Finishes C[m0 .. m0 + rows, n0 .. n0 + cols], whose sums lie at c.
void finish(const Epilogue& to, int64_t N, int64_t m0, int64_t rows, int64_t n0, int64_t cols, const float* c,
            ptrdiff_t ldc) {
  for (int64_t m = 0; m < rows; ++m) finish_row(to, (m0 + m) * N + n0, cols, c + m * ldc);
}

struct Work {
  int64_t M, N, K;
  SourceA a;
  SourceB b;
  Epilogue c;
  // A slice of a longer sum: it starts from zero, it is finished.
  bool first = true, last = true;
};

struct ThreadScratch {
  Scratch a, b, c, slice, scales;
};
ThreadScratch& thread_scratch() {
  thread_local ThreadScratch scratch;
  return scratch;
}

// Rows m0 .. m0 + rows of panels p0 .. p1.
void product_task(const Work& w, int64_t m0, int64_t rows, int64_t p0, int64_t p1) {
  const int64_t width = panel_width();
  const bool groups = w.b.panels && w.b.from.element == Element::kInt4;
  int64_t depth = divide_up(w.K, divide_up(w.K, kBlockDepth));
  if (w.b.scales != nullptr) depth = round_up(depth, kQuantGroup);  // whole words, whole groups
  ThreadScratch& scratch = thread_scratch();
  float* a = scratch.a.floats(static_cast<size_t>(rows * depth));
  float* scales = groups ? scratch.scales.floats(static_cast<size_t>(depth / kQuantGroup * width)) : nullptr;
  float* b_scratch = scratch.b.floats(static_cast<size_t>(depth * width * kPanelsAtOnce));
  const bool in_place = w.b.in_place();
  const bool direct = w.c.y_element == Element::kF32;
  float* c = nullptr;
  ptrdiff_t ldc = 0;
  if (direct) {
    c = static_cast<float*>(w.c.y) + m0 * w.N + p0 * width;
    ldc = w.N;
  } else {
    ldc = (p1 - p0) * width;
    c = scratch.c.floats(static_cast<size_t>(rows * ldc));
  }
  for (int64_t k0 = 0; k0 < w.K; k0 += depth) {
    const int64_t k_count = std::min(depth, w.K - k0);
    pack_a(w.a, m0, rows, k0, k_count, a);
    for (int64_t p = p0; p < p1; ++p) {
      const int64_t n0 = p * width, cols = std::min(width, w.N - n0), padded = round_up(cols, lanes());
      const int64_t packed = (p - p0) % kPanelsAtOnce;
      if (!in_place && packed == 0) {
        pack_b(w.b, w.K, n0, std::min({kPanelsAtOnce * width, p1 * width - n0, w.N - n0}), k0, k_count, b_scratch,
               k_count, 0);
      }
      const float* b = in_place ? panel_in_place(w.b, w.K, n0, padded, k0) : b_scratch + packed * width * k_count;
      float* c_panel = c + (p - p0) * width;
      if (groups) widen_scales(w.b.scales, w.K, n0, padded, k0, k_count, scales);
      for (int64_t r = 0; r < rows; r += kTileRows) {
        const int64_t count = std::min<int64_t>(kTileRows, rows - r);
        const bool fresh = w.first && k0 == 0;
        float* tile_c = c_panel + r * ldc;
        groups ? tile_any<true>(count, cols, k_count, a + r * k_count, b, padded, tile_c, ldc, fresh, scales)
               : tile_any(count, cols, k_count, a + r * k_count, b, padded, tile_c, ldc, fresh);
      }
      if (!w.last || k0 + k_count < w.K) continue;
      if (w.b.panels && w.b.from.element == Element::kInt8) {
        for (int64_t m = 0; m < rows; ++m) scale_row(w.b.scales, n0, cols, c_panel + m * ldc);
      }
      finish(w.c, w.N, m0, rows, n0, cols, c_panel, ldc);
    }
  }
}

// Tasks are blocks of rows times groups of panels, no more of them than end together: every group packs A again.
void product_tasks(const Work& w) {
  const int64_t panels = divide_up(w.N, panel_width());
  const int64_t threads = w.M * w.N * w.K <= 2 * kThreadWork ? 1 : num_threads();
  const int64_t least_groups = divide_up(panels, kTaskPanels), most_groups = divide_up(panels, kTaskPanels / 3);
  int64_t block_rows = kBlockRows;
  while (threads > 1 && block_rows > 32 && divide_up(w.M, block_rows) * most_groups < 2 * threads) block_rows /= 2;
  const int64_t blocks = divide_up(w.M, block_rows);
  block_rows = round_up(divide_up(w.M, blocks), kTileRows);
  const auto uneven = [&](int64_t tasks) {
    return tasks < 2 * threads || (tasks < 8 * threads && tasks % threads != 0);
  };
  int64_t groups = least_groups;
  while (threads > 1 && groups < most_groups && uneven(blocks * groups)) ++groups;
  parallel_for(blocks * groups, threads == 1 ? blocks * groups : 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t m0 = task / groups * block_rows, group = task % groups;
      if (m0 >= w.M) continue;
      product_task(w, m0, std::min(block_rows, w.M - m0), panels * group / groups, panels * (group + 1) / groups);
    }
  });
}

// Rows k0 .. k0 + depth of a row-major B, packed into fp32 panels by all threads.
void pack_slice(const SourceB& source, int64_t K, int64_t N, int64_t k0, int64_t depth, float* to) {
  const int64_t batch = kPanelsAtOnce * panel_width(), batches = divide_up(N, batch);
  parallel_for(batches * divide_up(depth, kBlockDepth), 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n0 = task % batches * batch, k = task / batches * kBlockDepth;
      const int64_t rows = std::min(kBlockDepth, depth - k), cols = std::min(batch, N - n0);
      pack_b(source, K, n0, cols, k0 + k, rows, to + n0 * depth, depth, k);
    }
  });
}

Work forward_work(const LinearForward& in) {
  const Panels& p = *in.weight;
  return {in.M, p.N, p.K, {in.x, false}, {{p.begin(), p.element, 0}, true, false, p.scales, p.unit != nullptr}, in.to};
}

void product(const Work& w) {
  // Each block of rows would pack a row-major B again; from three blocks on, packing once for all is cheaper. Sums kept
  // in fp32 C can continue from slice to slice.
  const bool sliced = w.c.y_element == Element::kF32;
  if (w.b.panels || w.M <= 2 * kBlockRows || (!sliced && w.K > 2 * kSliceDepth)) return product_tasks(w);
  const int64_t slice = sliced ? divide_up(w.K, divide_up(w.K, kSliceDepth)) : w.K;
  float* packed = thread_scratch().slice.floats(static_cast<size_t>(slice * round_up(w.N, panel_width())));
  for (int64_t k0 = 0; k0 < w.K; k0 += slice) {
    Work part = w;
    part.K = std::min(slice, w.K - k0);
    pack_slice(w.b, w.K, w.N, k0, part.K, packed);
    const ptrdiff_t size = w.a.from.element == Element::kF32 ? 4 : 2;
    part.a.from.data = static_cast<const std::byte*>(w.a.from.data) + size * k0 * (w.a.transposed ? w.a.from.ld : 1);
    part.b = {{packed, Element::kF32, 0}, true, false};
    part.first = w.first && k0 == 0;
    part.last = k0 + part.K == w.K;
    product_tasks(part);
  }
}

// Vectors that a thread takes at least: whole tiles, so few that the threads end together.
int64_t few_rows_grain(int64_t vectors, int64_t threads, int64_t at_once) {
  return threads == 1 ? vectors : round_up(divide_up(vectors, 32 * threads), at_once);
}

// All rows in one tile; threads share the output channels of all products (of one A) vector by vector, so that they end
// together.
template <typename T>
void product_few_rows(const LinearForward* products, int64_t product_count) {
  const int64_t step = lanes(), width = panel_width();
  const int64_t M = products[0].M, K = products[0].weight->K;
  int64_t vectors = 0, columns = 0;
  for (int64_t i = 0; i < product_count; ++i) {
    vectors += divide_up(products[i].weight->N, step);
    columns += products[i].weight->N;
  }
  const int64_t threads = M * columns * K <= 2 * kThreadWork ? 1 : num_threads();
  const int64_t grain = few_rows_grain(vectors, threads, kTileVecs);
  float* a = thread_scratch().a.floats(static_cast<size_t>(M * K));
  pack_a({products[0].x, false}, 0, M, 0, K, a);
  parallel_for(vectors, grain, [&](int64_t begin, int64_t end) HWY_ATTR {
    HWY_ALIGN float sums[kFewRows * kTileVecs * HWY_MAX_BYTES / sizeof(float)];
    int64_t i = 0, start = 0;  // the product that vector v belongs to, and its first
    for (int64_t all = begin; all < end;) {
      while (all >= start + divide_up(products[i].weight->N, step)) start += divide_up(products[i++].weight->N, step);
      const Work w = forward_work(products[i]);
      const bool direct = w.c.y_element == Element::kF32;
      const int64_t v = all - start, p = v / kTileVecs, n0 = p * width,
                    padded = round_up(std::min(width, w.N - n0), step);
      const int64_t skip = (v - p * kTileVecs) * step;
      const int64_t count = std::min({(p + 1) * kTileVecs, end - start, divide_up(w.N, step)}) - v;
      const int64_t cols = std::min(count * step, w.N - v * step);
      const T* b = static_cast<const T*>(w.b.from.data) + n0 * w.K + skip;
      float* c = direct ? static_cast<float*>(w.c.y) + v * step : sums;
      const ptrdiff_t ldc = direct ? w.N : width;
      tile_any(w.M, cols, w.K, a, b, padded, c, ldc, true);
      finish(w.c, w.N, 0, w.M, v * step, cols, c, ldc);
      all += count;
    }
  });
}

// The same for int8 and int4. A vector of channels is a stream of its own through memory; several at once hide the
// latency of the additions.
template <Element kElement>
void quantised_few_rows(const LinearForward* products, int64_t product_count) {
  const int64_t step = lanes();
  const int64_t M = products[0].M, K = products[0].weight->K;
  int64_t vectors = 0;
  for (int64_t i = 0; i < product_count; ++i) vectors += divide_up(products[i].weight->N, step);
  const int64_t threads = M * vectors * step * K <= 2 * kThreadWork ? 1 : num_threads();
  const int64_t at_once = quantised_vectors(M);
  const int64_t grain = few_rows_grain(vectors, threads, at_once);
  float* a = thread_scratch().a.floats(static_cast<size_t>(M * K));
  pack_a({products[0].x, false}, 0, M, 0, K, a);
  parallel_for(vectors, grain, [&](int64_t begin, int64_t end) HWY_ATTR {
    HWY_ALIGN float sums[kFewRows * kQuantVectors * HWY_MAX_BYTES / sizeof(float)];
    int64_t i = 0, start = 0;  // the product that vector `all` belongs to, and its first
    for (int64_t all = begin; all < end;) {
      while (all >= start + divide_up(products[i].weight->N, step)) start += divide_up(products[i++].weight->N, step);
      const Panels& p = *products[i].weight;
      const int64_t n0 = (all - start) * step;
      const int64_t left = std::min(end - start, divide_up(p.N, step)) - (all - start);
      const int64_t count = left >= at_once ? at_once : 1, cols = std::min(count * step, p.N - n0);
      quantised_tile<kElement>(M, count, K, a, p.begin(), p.scales, n0, sums);
      finish(products[i].to, p.N, 0, M, n0, cols, sums, count * step);
      all += count;
    }
  });
}

void forward(const LinearForward* products, int64_t count) {
  const Panels& weight = *products[0].weight;
  if (products[0].M > kFewRows || weight.unit != nullptr) {
    for (int64_t i = 0; i < count; ++i) product(forward_work(products[i]));
  } else if (weight.element == Element::kF32) {
    product_few_rows<float>(products, count);
  } else if (weight.element == Element::kBf16) {
    product_few_rows<uint16_t>(products, count);
  } else if (weight.element == Element::kInt8) {
    quantised_few_rows<Element::kInt8>(products, count);
  } else {
    quantised_few_rows<Element::kInt4>(products, count);
  }
}

void backward_input(const LinearBackwardInput& in) {
  product({in.M,
           in.K,
           in.N,
           {in.dy, false},
           {{in.weight, Element::kF32, in.K}, false, in.round_weight},
           {in.dx, in.dx_element}});
}

void backward_weight(const LinearBackwardWeight& in) {
  Work w{in.N, in.K, in.M, {in.dy, true}, {in.x, false, false}, {in.dw, Element::kF32}};
  w.first = !in.accumulate;
  product(w);
}

template <typename T>
void pack(const T* weight, ptrdiff_t ld, Panels* out) {
  const int64_t step = lanes(), width = panel_width(), N = out->N, K = out->K;
  constexpr int64_t kSlice = 128;  // of K: a slice of a panel stays in L1 while it is transposed
  parallel_for(
      divide_up(N, width), std::max<int64_t>(1, kThreadWork / (width * K)), [&](int64_t begin, int64_t end) HWY_ATTR {
        HWY_ALIGN float slice[kSlice * kTileVecs * HWY_MAX_BYTES / sizeof(float)];
        HWY_ALIGN float rows_f32[sizeof(T) == sizeof(float) ? 1 : kSlice * kTileVecs * HWY_MAX_BYTES / sizeof(float)];
        for (int64_t p = begin; p < end; ++p) {
          const int64_t n0 = p * width, cols = std::min(width, N - n0), padded = round_up(cols, step);
          for (int64_t k0 = 0; k0 < K; k0 += kSlice) {
            const int64_t depth = std::min(kSlice, K - k0);
            const ptrdiff_t offset = n0 * K + k0 * padded;
            float* to = out->element == Element::kF32 ? reinterpret_cast<float*>(out->data.get()) + offset : slice;
            if constexpr (sizeof(T) == sizeof(float)) {
              transpose(cols, depth, weight + n0 * ld + k0, ld, to, padded);
            } else {
              for (int64_t i = 0; i < cols; ++i) {
                widen_row<false>(weight + (n0 + i) * ld + k0, depth, depth, rows_f32 + i * kSlice);
              }
              transpose(cols, depth, rows_f32, kSlice, to, padded);
            }
            for (int64_t k = 0; k < depth; ++k) std::fill(to + k * padded + cols, to + (k + 1) * padded, 0.f);
            if (out->element == Element::kBf16) {
              narrow_row(slice, depth * padded, reinterpret_cast<uint16_t*>(out->data.get()) + offset);
            }
          }
        }
      });
}

}  // namespace

int64_t linear_panel_width_simd() { return panel_width(); }
int64_t linear_panel_vector_simd() { return lanes(); }
void linear_pack_simd(const Matrix& weight, Panels* out) {
  weight.element == Element::kF32 ? pack(static_cast<const float*>(weight.data), weight.ld, out)
                                  : pack(static_cast<const uint16_t*>(weight.data), weight.ld, out);
}
void linear_forward_simd(const LinearForward* products, int64_t count) { forward(products, count); }
void linear_backward_input_simd(const LinearBackwardInput& in) { backward_input(in); }
void linear_backward_weight_simd(const LinearBackwardWeight& in) { backward_weight(in); }

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(linear_panel_width_simd);
HWY_EXPORT(linear_panel_vector_simd);
HWY_EXPORT(linear_pack_simd);
HWY_EXPORT(linear_forward_simd);
HWY_EXPORT(linear_backward_input_simd);
HWY_EXPORT(linear_backward_weight_simd);

int64_t linear_panel_width() { return HWY_DYNAMIC_DISPATCH(linear_panel_width_simd)(); }

namespace {

// The summed dimension, in slices of which B is packed where it cannot be packed beforehand: bounds the memory.
constexpr int64_t kUnitSlice = 2048;

bool all_bf16(Element a, Element b) { return a == Element::kBf16 && b == Element::kBf16; }

Panels pack_for_unit(const TileUnit* unit, const TileOperand& b, int64_t cols, int64_t summed) {
  Panels out;
  out.element = Element::kBf16;
  out.unit = unit;
  out.data = aligned_bytes(tile_packed_bytes(cols, summed));
  tile_pack(b, cols, summed, reinterpret_cast<uint16_t*>(out.data.get()));
  return out;
}

const uint16_t* packed_words(const Panels& panels) { return static_cast<const uint16_t*>(panels.begin()); }

void backward_weight_on(const TileUnit& unit, const LinearBackwardWeight& in) {
  thread_local Scratch scratch;
  for (int64_t m0 = 0; m0 < in.M; m0 += kUnitSlice) {
    const int64_t rows = std::min(kUnitSlice, in.M - m0);
    const auto slice = [&](const Matrix& from) {
      return TileOperand{{static_cast<const uint16_t*>(from.data) + m0 * from.ld, Element::kBf16, from.ld}, true};
    };
    auto* b = reinterpret_cast<uint16_t*>(scratch.floats(tile_packed_bytes(in.K, rows) / sizeof(float)));
    tile_pack(slice(in.x), in.K, rows, b);
    tile_product(unit, {in.N, in.K, rows, slice(in.dy), b, {in.dw, Element::kF32}, m0 == 0 && !in.accumulate});
  }
}

}  // namespace

bool linear_panels_current(const Panels& panels, int64_t N, int64_t K) {
  const TileUnit* unit = panels.element == Element::kBf16 ? tile_unit() : nullptr;
  return panels.begin() != nullptr && panels.N == N && panels.K == K && panels.unit == unit &&
         (unit != nullptr || panels.width == linear_panel_width());
}

Panels linear_pack_backward(const float* weight, int64_t N, int64_t K) {
  Panels out = pack_for_unit(tile_unit(), {{weight, Element::kF32, K}, true}, K, N);
  out.N = N;
  out.K = K;
  return out;
}

const TileUnit* linear_unit(Element element) { return element == Element::kBf16 ? tile_unit() : nullptr; }

Panels linear_pack(const Matrix& weight, int64_t N, int64_t K, Element element) {
  if (const TileUnit* unit = element == Element::kBf16 ? tile_unit() : nullptr; unit != nullptr) {
    Panels packed = pack_for_unit(unit, {weight, false}, N, K);
    packed.N = N;
    packed.K = K;
    return packed;
  }
  Panels out;
  out.N = N;
  out.K = K;
  out.element = element;
  out.width = linear_panel_width();
  const int64_t padded = (N + out.width - 1) / out.width * out.width;
  out.data = aligned_bytes(static_cast<size_t>(padded * K) * (element == Element::kF32 ? 4 : 2));
  HWY_DYNAMIC_DISPATCH(linear_pack_simd)(weight, &out);
  return out;
}

PanelLayout linear_tile_layout() { return {kTilePanel, kTilePanel, true}; }

PanelLayout linear_panel_layout(Element element) {
  if (linear_uses_unit(element)) return linear_tile_layout();
  return {linear_panel_width(), HWY_DYNAMIC_DISPATCH(linear_panel_vector_simd)(), false};
}

int64_t linear_panel_numbers(const PanelLayout& layout, int64_t N, int64_t K) {
  if (layout.tiles) return static_cast<int64_t>(tile_packed_bytes(N, K) / sizeof(uint16_t));
  return (N + layout.vector - 1) / layout.vector * layout.vector * K;
}

void linear_unpack(const PanelLayout& layout, const void* panels, int64_t bytes, int64_t N, int64_t K, void* rows) {
  const auto size = static_cast<size_t>(bytes);
  parallel_for(N, 16, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t n0 = n / layout.width * layout.width, left = (N - n0 + layout.vector - 1) / layout.vector;
      const int64_t padded = std::min(layout.width, left * layout.vector);
      for (int64_t k = 0; k < K; ++k) {
        const int64_t at = layout.tiles ? tile_index(K, n, k) : n0 * K + k * padded + n - n0;
        std::memcpy(static_cast<std::byte*>(rows) + (n * K + k) * bytes,
                    static_cast<const std::byte*>(panels) + at * bytes, size);
      }
    }
  });
}

void linear_forward_many(const LinearForward* products, int64_t count) {
  if (count == 0) return;
  if (products[0].weight->scales != nullptr && products[0].x.element == Element::kBf16) {
    if (const ByteUnit* unit = byte_unit(products[0].M); unit != nullptr) return byte_product(*unit, products, count);
  }
  if (products[0].weight->unit == nullptr || products[0].x.element != Element::kBf16) {
    return HWY_DYNAMIC_DISPATCH(linear_forward_simd)(products, count);
  }
  for (int64_t i = 0; i < count; ++i) {
    const LinearForward& in = products[i];
    const Panels& w = *in.weight;
    tile_product(*w.unit, {in.M, w.N, w.K, {in.x, false}, packed_words(w), in.to, true});
  }
}

void linear_forward(const LinearForward& in) { linear_forward_many(&in, 1); }

void linear_backward_input(const LinearBackwardInput& in) {
  if (!in.round_weight || !linear_uses_unit(in.dy.element)) {
    return HWY_DYNAMIC_DISPATCH(linear_backward_input_simd)(in);
  }
  Panels for_this_call;
  if (in.packed == nullptr) for_this_call = linear_pack_backward(in.weight, in.N, in.K);
  const Panels& w = in.packed != nullptr ? *in.packed : for_this_call;
  tile_product(*w.unit, {in.M, in.K, in.N, {in.dy, false}, packed_words(w), {in.dx, in.dx_element}, true});
}

void linear_backward_weight(const LinearBackwardWeight& in) {
  const TileUnit* unit = all_bf16(in.dy.element, in.x.element) ? tile_unit() : nullptr;
  unit != nullptr ? backward_weight_on(*unit, in) : HWY_DYNAMIC_DISPATCH(linear_backward_weight_simd)(in);
}

}  // namespace lt2
#endif
