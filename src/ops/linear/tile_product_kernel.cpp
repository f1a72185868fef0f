// Packing and blocks around the processor's bf16 units. Here a "word" is a pair of bf16 numbers, neighbours in the
// summed dimension: rows of A are rows of words, and a tile of B is that of A with words transposed.
#include "base/threads.h"
#include "ops/linear/tile_product.h"
#include "ops/simd/targets.h"
#include "ops/simd/tile_unit.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/tile_product_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/linear/finish-inl.h"

// clang-format off: the order above is Highway's
#include <algorithm>
#include <cstring>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kTileElements = kTileSide * kTileDepth;
// A block of A (256 rows) stays in L2 while the panels pass by; a block of a panel (24 KiB) stays in L1 while the rows
// do. Chosen by the sizes of caches, not measured.
constexpr int64_t kBlockRows = 256;
constexpr int64_t kBlockSteps = 12;
// Panels a task covers at most: bounds its fp32 block of C to 1 MiB.
constexpr int64_t kTaskPanels = 32;
// Packing: panels and steps of a task.
constexpr int64_t kPackPanels = 8, kPackSteps = 8;
// Multiply-adds below which a second thread costs more than it saves.
constexpr int64_t kThreadWork = 1 << 17;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

using U32 = hn::RebindToUnsigned<F>;

// bf16 in the lower halves.
template <class Part>
HWY_INLINE hn::Vec<U32> bf16_bits(const float* p, Part part) {
  return round_to_bf16_bits(load(p, part));
}
template <class Part>
HWY_INLINE hn::Vec<U32> bf16_bits(const uint16_t* p, Part part) {
  return hn::ShiftRight<16>(hn::BitCast(U32(), load(p, part)));
}

// words [16][16] = `rows` rows of the operand, `depth` of their elements.
template <typename T>
void words_along(const T* from, ptrdiff_t ld, int64_t rows, int64_t depth, uint16_t* HWY_RESTRICT words) {
  for (int64_t r = 0; r < rows; ++r) {
    if constexpr (sizeof(T) == sizeof(uint16_t)) {
      std::memcpy(words + r * kTileDepth, from + r * ld, static_cast<size_t>(depth) * sizeof(uint16_t));
    } else {
      for_each_vector(depth, [&](int64_t k, auto part)
                                 HWY_ATTR { store(load(from + r * ld + k, part), words + r * kTileDepth + k, part); });
    }
  }
}

// words [16 pairs][16] = two rows of the summed dimension each, `cols` columns.
template <typename T>
void words_across(const T* from, ptrdiff_t ld, int64_t depth, int64_t cols, uint16_t* HWY_RESTRICT words) {
  auto* to = reinterpret_cast<uint32_t*>(words);
  for (int64_t k = 0; k < depth; k += 2) {
    const T *first = from + k * ld, *second = k + 1 < depth ? first + ld : nullptr;
    for_each_vector(cols, [&](int64_t n, auto part) HWY_ATTR {
      auto word = bf16_bits(first + n, part);
      if (second != nullptr) word = hn::Or(word, hn::ShiftLeft<16>(bf16_bits(second + n, part)));
      hn::StoreU(word, U32(), to + k / 2 * kTileSide + n);  // whole vectors: a tile has room
    });
  }
}

// Rows (of A, or columns of B) i0 .. i0 + count of the operand, summed elements k0 .. k0 + depth, count <= 16 and
// depth <= 32, as words [kept][16 pairs], transposed: [16 pairs][16 kept]. What lies beyond becomes zero.
template <typename T>
void pack_tile(const TileOperand& source, int64_t i0, int64_t count, int64_t k0, int64_t depth, int64_t kept,
               bool transposed, uint16_t* to) {
  const T* data = static_cast<const T*>(source.from.data);
  const ptrdiff_t ld = source.from.ld;
  HWY_ALIGN uint16_t buffer[kTileElements];
  const bool natural = source.across == transposed;
  uint16_t* words = natural ? to : buffer;
  if (count < kTileSide || depth < kTileDepth) {
    std::memset(words, 0, static_cast<size_t>((natural ? kept : kTileSide) * kTileDepth) * sizeof(uint16_t));
  }
  if (source.across) {
    words_across(data + k0 * ld + i0, ld, depth, count, words);
  } else {
    words_along(data + i0 * ld + k0, ld, count, depth, words);
  }
  if (natural) return;
  // Moves bits, whatever number they mean; the compiler must not infer anything from the types.
  __asm__ volatile("" ::: "memory");
  transpose(kTileSide, kept, reinterpret_cast<const float*>(buffer), kTileSide, reinterpret_cast<float*>(to),
            kTileSide);
}

void pack_tile(const TileOperand& source, int64_t i0, int64_t count, int64_t k0, int64_t depth, int64_t kept,
               bool transposed, uint16_t* to) {
  source.from.element == Element::kF32 ? pack_tile<float>(source, i0, count, k0, depth, kept, transposed, to)
                                       : pack_tile<uint16_t>(source, i0, count, k0, depth, kept, transposed, to);
}

void pack_b(const TileOperand& b, int64_t N, int64_t K, uint16_t* to) {
  const int64_t panels = divide_up(N, kTilePanel), steps = divide_up(K, kTileDepth);
  const int64_t across = divide_up(panels, kPackPanels), tasks = across * divide_up(steps, kPackSteps);
  parallel_for(tasks, 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t p0 = task % across * kPackPanels, s0 = task / across * kPackSteps;
      for (int64_t s = s0; s < std::min(s0 + kPackSteps, steps); ++s) {
        for (int64_t p = p0; p < std::min(p0 + kPackPanels, panels); ++p) {
          uint16_t* tile = to + (p * steps + s) * kTileStepB;
          for (int64_t n = p * kTilePanel; n < (p + 1) * kTilePanel; n += kTileSide, tile += kTileElements) {
            const int64_t count = std::clamp<int64_t>(N - n, 0, kTileSide);
            pack_tile(b, n, count, s * kTileDepth, std::min(kTileDepth, K - s * kTileDepth), kTileSide, true, tile);
          }
        }
      }
    }
  });
}

// Rows m0 .. m0 + rows of A as blocks [steps][unit.rows][kTileDepth], the last with as many rows as are left.
void pack_a(const TileUnit& unit, const TileProduct& in, int64_t m0, int64_t rows, int64_t s0, int64_t steps,
            uint16_t* to) {
  for (int64_t r = 0; r < rows; r += unit.rows) {
    const int64_t count = std::min(unit.rows, rows - r), padded = round_up(count, unit.row_step);
    uint16_t* block = to + r * steps * kTileDepth;
    for (int64_t s = 0; s < steps; ++s) {
      const int64_t k0 = (s0 + s) * kTileDepth, depth = std::min(kTileDepth, in.K - k0);
      for (int64_t i = 0; i < padded; i += kTileSide) {
        pack_tile(in.a, m0 + r + i, std::min(kTileSide, count - i), k0, depth, std::min(kTileSide, padded - i), false,
                  block + (s * padded + i) * kTileDepth);
      }
    }
  }
}

void copy_rows(int64_t rows, int64_t cols, const float* from, ptrdiff_t ld_from, float* to, ptrdiff_t ld_to) {
  for (int64_t m = 0; m < rows; ++m) {
    std::memcpy(to + m * ld_to, from + m * ld_from, static_cast<size_t>(cols) * sizeof(float));
  }
}

// One block whose C may have fewer rows and columns than the unit writes.
void multiply(const TileUnit& unit, TileBlock block, int64_t rows, int64_t cols) {
  if (rows == block.rows && cols == kTilePanel) return unit.multiply(block);
  alignas(64) float edge[kTilePanel * kTilePanel];
  float* c = block.c;
  const ptrdiff_t ldc = block.ldc;
  block.c = edge;
  block.ldc = kTilePanel;
  if (!block.fresh) {
    std::memset(edge, 0, sizeof(edge));
    copy_rows(rows, cols, c, ldc, edge, kTilePanel);
  }
  unit.multiply(block);
  copy_rows(rows, cols, edge, kTilePanel, c, ldc);
}

struct ThreadScratch {
  Scratch a, c;
};
ThreadScratch& thread_scratch() {
  thread_local ThreadScratch scratch;
  return scratch;
}

// Rows m0 .. m0 + rows of panels p0 .. p1.
void product_task(const TileUnit& unit, const TileProduct& in, int64_t m0, int64_t rows, int64_t p0, int64_t p1) {
  const int64_t all_steps = divide_up(in.K, kTileDepth),
                depth = divide_up(all_steps, divide_up(all_steps, kBlockSteps));
  const int64_t padded_rows = round_up(rows, unit.row_step);
  ThreadScratch& scratch = thread_scratch();
  auto* a = reinterpret_cast<uint16_t*>(scratch.a.floats(static_cast<size_t>(padded_rows * depth * kTileDepth / 2)));
  const bool direct = in.c.y_element == Element::kF32;
  float* c = nullptr;
  ptrdiff_t ldc = 0;
  if (direct) {
    c = static_cast<float*>(in.c.y) + m0 * in.N + p0 * kTilePanel;
    ldc = in.N;
  } else {
    ldc = (p1 - p0) * kTilePanel;
    c = scratch.c.floats(static_cast<size_t>(padded_rows * ldc));
  }
  for (int64_t s0 = 0; s0 < all_steps; s0 += depth) {
    const int64_t steps = std::min(depth, all_steps - s0);
    pack_a(unit, in, m0, rows, s0, steps, a);
    for (int64_t p = p0; p < p1; ++p) {
      const int64_t n0 = p * kTilePanel, cols = std::min(kTilePanel, in.N - n0);
      const uint16_t* b = in.b + (p * all_steps + s0) * kTileStepB;
      float* panel = c + (p - p0) * kTilePanel;
      for (int64_t r = 0; r < rows; r += unit.rows) {
        const int64_t count = std::min(unit.rows, rows - r), padded = round_up(count, unit.row_step);
        multiply(unit, {steps, padded, a + r * steps * kTileDepth, b, panel + r * ldc, ldc, in.fresh && s0 == 0},
                 direct ? count : padded, direct ? cols : kTilePanel);
      }
      if (s0 + steps < all_steps) continue;
      for (int64_t m = 0; m < rows; ++m) finish_row(in.c, (m0 + m) * in.N + n0, cols, panel + m * ldc);
    }
  }
}

// Tasks are blocks of rows times groups of panels; every group packs A again.
void product(const TileUnit& unit, const TileProduct& in) {
  const int64_t panels = divide_up(in.N, kTilePanel);
  const int64_t threads = in.M * in.N * in.K <= kThreadWork ? 1 : num_threads();
  int64_t blocks = divide_up(in.M, kBlockRows);
  const int64_t block_rows = round_up(divide_up(in.M, blocks), unit.rows);
  blocks = divide_up(in.M, block_rows);
  int64_t groups = divide_up(panels, kTaskPanels);
  // No more groups than leave each a few panels, but something to do for every thread.
  const int64_t wanted = threads == 1 ? 1 : blocks % threads == 0 ? 2 * threads : 4 * threads;
  groups = std::max(groups, std::min(panels, divide_up(wanted, blocks)));
  parallel_for(blocks * groups, threads == 1 ? blocks * groups : 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    unit.begin();
    for (int64_t task = begin; task < end; ++task) {
      const int64_t m0 = task / groups * block_rows, group = task % groups;
      product_task(unit, in, m0, std::min(block_rows, in.M - m0), panels * group / groups,
                   panels * (group + 1) / groups);
    }
    unit.end();
  });
}

void TilePack(const TileOperand& b, int64_t N, int64_t K, uint16_t* to) { pack_b(b, N, K, to); }
void TileProductRun(const TileUnit& unit, const TileProduct& in) { product(unit, in); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(TilePack);
HWY_EXPORT(TileProductRun);

size_t tile_packed_bytes(int64_t N, int64_t K) {
  const int64_t panels = (N + kTilePanel - 1) / kTilePanel, steps = (K + kTileDepth - 1) / kTileDepth;
  return static_cast<size_t>(panels * steps * kTileStepB) * sizeof(uint16_t);
}

void tile_pack(const TileOperand& b, int64_t N, int64_t K, uint16_t* to) {
  HWY_DYNAMIC_DISPATCH(TilePack)(b, N, K, to);
}

void tile_product(const TileUnit& unit, const TileProduct& in) { HWY_DYNAMIC_DISPATCH(TileProductRun)(unit, in); }

}  // namespace lt2
#endif
