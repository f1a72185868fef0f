// Makes whole numbers of x, and the blocks and threads around the processor's units for bytes.
#include "base/threads.h"
#include "ops/linear/byte_product.h"
#include "ops/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/byte_product_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/linear/finish-inl.h"
#include "ops/linear/quantised-inl.h"

// clang-format off: the order above is Highway's
#include <algorithm>
#include <cstring>
#include <limits>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

static_assert(kByteSide == kQuantWidth && kByteStep == kQuantGroup);

// Packed rows of a block stay in L2 while the weight passes by.
constexpr int64_t kBlockBytes = 512 << 10;
// Multiply-adds below which a second thread costs more than it saves.
constexpr int64_t kThreadWork = 1 << 17;
constexpr int64_t kSteps = kByteBlock / kByteStep;
constexpr uint32_t kInfinity = 0x7f800000;
// Blocks whose numbers are all smaller are zero: what 1 would stand for lies below fp32's normal numbers.
constexpr uint32_t kLeast = 15u << 23;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// Rows of x in the unit's form: tiles of at most tile_rows, one after the other.
struct Packed {
  int64_t tile_rows, row_step, blocks;           // blocks of kByteBlock
  int8_t* a;                                     // tile by tile [4 blocks][padded rows][high, low][64]
  float* scales;                                 // tile by tile [blocks][padded rows]
  int32_t* sums;                                 // tile by tile [blocks][padded rows][4]
  int64_t rows = 0, tiles = 0, last_padded = 0;  // the last tile rounded up to row_step

  // Divisions take longer than a block of one row waits for memory: none at a tile.
  void set_rows(int64_t count) {
    rows = count;
    tiles = divide_up(count, tile_rows);
    last_padded = round_up(count - (tiles - 1) * tile_rows, row_step);
  }
  int64_t padded(int64_t tile) const { return tile + 1 < tiles ? tile_rows : last_padded; }
};

float from_bits(uint32_t bits) {
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

uint32_t largest_bits(const uint16_t* x, int64_t depth) {
  const I32 di;
  VI32 most = hn::Zero(di);
  for_each_vector(
      depth, [&](int64_t k, auto part) HWY_ATTR { most = hn::Max(most, hn::BitCast(di, hn::Abs(load(x + k, part)))); });
  return static_cast<uint32_t>(hn::GetLane(hn::MaxOfLanes(di, most)));
}

// A row's numbers k0 .. k0 + depth as bytes, `to` [steps][stride]; returns what 1 stands for.
float pack_block(const uint16_t* x, int64_t depth, int8_t* to, ptrdiff_t stride, int32_t* sums) {
  const I32 di;
  const hn::Rebind<int8_t, F> d8;
  // The largest becomes at most 254 * 128 = 127 * 256, what two signed bytes can say. Where all bits of its mantissa
  // are set (255 * 128), the next power serves, of which it is 255 * 64.
  const uint32_t largest = largest_bits(x, depth), power = (largest + (1u << 16)) & kInfinity;
  const bool finite = largest < kInfinity, zero = power < kLeast;
  const float unit = from_bits(power - (14u << 23));              // 2^-14 of the power of two
  const float inverse = from_bits(((254u + 14u) << 23) - power);  // 1 / unit
  const VF by = hn::Set(F(), finite && !zero ? inverse : 0.f);
  for (int64_t step = 0; step < kSteps && step * kByteStep < depth; ++step) {
    int8_t *high = to + step * stride, *low = high + kByteStep;
    const int64_t count = std::min(kByteStep, depth - step * kByteStep);
    if (count < kByteStep) std::memset(high, 0, 2 * kByteStep);
    VI32 sum = hn::Zero(di);
    // Whole vectors: they never reach beyond the line, and what lies beyond the numbers is zero.
    for_each_vector(count, [&](int64_t k, auto part) HWY_ATTR {
      const VI32 q = hn::NearestInt(hn::Mul(load(x + step * kByteStep + k, part), by));
      const VI32 h = hn::ShiftRight<8>(hn::Add(q, hn::Set(di, 128)));
      hn::StoreU(hn::DemoteTo(d8, h), d8, high + k);
      hn::StoreU(hn::DemoteTo(d8, hn::Sub(q, hn::ShiftLeft<8>(h))), d8, low + k);
      sum = hn::Add(sum, q);
    });
    sums[step] = finite ? hn::GetLane(hn::SumOfLanes(di, sum)) : 0;
  }
  return !finite ? std::numeric_limits<float>::quiet_NaN() : zero ? 0.f : unit;
}

// Tiles t0 .. t1 of `to` = rows m0 .. of x.
void pack_tiles(const Matrix& x, int64_t K, int64_t m0, int64_t t0, int64_t t1, const Packed& to) {
  const int64_t steps = divide_up(K, kByteStep);
  for (int64_t tile = t0; tile < t1; ++tile) {
    const int64_t first = tile * to.tile_rows, padded = to.padded(tile);
    const int64_t rows = std::min(padded, to.rows - first);
    int8_t* a = to.a + first * to.blocks * kSteps * 2 * kByteStep;
    float* scales = to.scales + first * to.blocks;
    int32_t* sums = to.sums + first * to.blocks * kSteps;
    const ptrdiff_t stride = padded * 2 * kByteStep;
    if (padded > rows) std::memset(a, 0, static_cast<size_t>(steps * stride));
    std::fill(scales, scales + padded * to.blocks, 0.f);
    std::fill(sums, sums + padded * to.blocks * kSteps, 0);
    for (int64_t m = 0; m < rows; ++m) {
      const uint16_t* row = static_cast<const uint16_t*>(x.data) + (m0 + first + m) * x.ld;
      for (int64_t block = 0; block < to.blocks; ++block) {
        const int64_t k0 = block * kByteBlock, at = block * padded + m;
        scales[at] = pack_block(row + k0, std::min(kByteBlock, K - k0), a + block * kSteps * stride + m * 2 * kByteStep,
                                stride, sums + at * kSteps);
      }
    }
  }
}

// Memory for `rows` packed rows, which the last tile may round up.
class PackedRows {
 public:
  Packed reserve(const ByteUnit& unit, int64_t rows, int64_t tile_rows, int64_t K) {
    const int64_t blocks = divide_up(K, kByteBlock);
    const auto room = static_cast<size_t>((round_up(rows, unit.row_step) + unit.row_step) * blocks);
    Packed packed{tile_rows,
                  unit.row_step,
                  blocks,
                  reinterpret_cast<int8_t*>(a_.floats(room * kByteBlock * 2 / sizeof(float))),
                  scales_.floats(room),
                  reinterpret_cast<int32_t*>(sums_.floats(room * kSteps))};
    packed.set_rows(rows);
    return packed;
  }

 private:
  Scratch a_, scales_, sums_;
};

struct ThreadScratch {
  PackedRows shared, own;  // of all rows for all threads, of this thread's block
  Scratch c;
};
ThreadScratch& thread_scratch() {
  thread_local ThreadScratch scratch;
  return scratch;
}

// The products of one x, their panels counted through.
struct Work {
  const ByteUnit& unit;
  const LinearForward* products;
  int64_t count;
  int64_t panels = 0;

  int64_t M() const { return products[0].M; }
  int64_t K() const { return products[0].weight->K; }
  const Matrix& x() const { return products[0].x; }
};

// c [rows][ldc] = packed x times `wide` panels of the weight from p on, without int8's scales.
void multiply_panels(const ByteUnit& unit, const Packed& x, const Panels& weight, int64_t p, int64_t wide, float* c,
                     ptrdiff_t ldc) {
  const bool int4 = weight.element == Element::kInt4;
  const int64_t panel = quant_words(weight.element, weight.K) * kQuantRow;
  const int64_t groups = int4_groups(weight.K);
  const int64_t block_bytes = kByteBlock / quant_pack(weight.element) * kQuantRow;
  const auto* b = static_cast<const uint8_t*>(weight.begin()) + p * panel;
  const auto* scales = int4 ? static_cast<const uint16_t*>(weight.scales) + p * groups * kQuantWidth : nullptr;
  for (int64_t block = 0; block < x.blocks; ++block) {
    const int64_t k0 = block * kByteBlock;
    for (int64_t tile = 0; tile < x.tiles; ++tile) {
      const int64_t first = tile * x.tile_rows, padded = x.padded(tile);
      unit.multiply({.depth = std::min(kByteBlock, weight.K - k0),
                     .rows = padded,
                     .panels = wide,
                     .a = x.a + (first * x.blocks + block * padded) * kSteps * 2 * kByteStep,
                     .a_scales = x.scales + first * x.blocks + block * padded,
                     .sums = x.sums + (first * x.blocks + block * padded) * kSteps,
                     .b = b + block * block_bytes,
                     .panel = panel,
                     .scales = int4 ? scales + k0 / kQuantGroup * kQuantWidth : nullptr,
                     .scales_panel = groups * kQuantWidth,
                     .c = c + first * ldc,
                     .ldc = ldc,
                     .fresh = block == 0});
    }
  }
}

// Rows m0 .. of all products for panels p0 .. p1, counted through, so many at once.
void product_task(const Work& w, const Packed& x, int64_t m0, int64_t p0, int64_t p1, int64_t at_once) {
  const auto c_rows = static_cast<size_t>(x.rows + w.unit.row_step);
  float* c = thread_scratch().c.floats(c_rows * kByteMostPanels * kByteSide);
  int64_t i = 0, start = 0;  // the product that panel p belongs to, and its first
  for (int64_t p = p0; p < p1;) {
    int64_t panels = divide_up(w.products[i].weight->N, kQuantWidth);
    for (; p >= start + panels; panels = divide_up(w.products[i].weight->N, kQuantWidth)) {
      start += panels;
      ++i;
    }
    const Panels& weight = *w.products[i].weight;
    const int64_t left = std::min(p1 - start, panels) - (p - start);
    const int64_t wide = left >= at_once ? at_once : 1, n0 = (p - start) * kQuantWidth;
    const int64_t cols = std::min(wide * kQuantWidth, weight.N - n0), ldc = wide * kQuantWidth;
    multiply_panels(w.unit, x, weight, p - start, wide, c, ldc);
    for (int64_t m = 0; m < x.rows; ++m) {
      float* sums = c + m * ldc;
      if (weight.element == Element::kInt8) scale_row(weight.scales, n0, cols, sums);
      finish_row(w.products[i].to, (m0 + m) * weight.N + n0, cols, sums);
    }
    p += wide;
  }
}

void product(const Work& w) {
  const int64_t M = w.M(), K = w.K();
  if (M == 0) return;
  const int64_t threads = M * w.panels * kQuantWidth * K <= kThreadWork ? 1 : num_threads();
  const int64_t most_rows =
      std::max(w.unit.rows, kBlockBytes / (2 * round_up(K, kByteBlock)) / w.unit.rows * w.unit.rows);
  // Blocks of equal rows, as many as the threads share evenly; tiles of equal rows within.
  int64_t blocks = divide_up(M, most_rows);
  if (blocks > threads) blocks = round_up(blocks, threads);
  const int64_t tiles = divide_up(divide_up(M, blocks), w.unit.rows);
  const int64_t tile_rows = round_up(divide_up(divide_up(M, blocks), tiles), w.unit.row_step);
  const int64_t block_rows = tiles * tile_rows;
  blocks = divide_up(M, block_rows);
  // With few blocks the threads share the panels as well, and x is packed for all of them.
  const bool together = blocks < 4 * threads;
  const int64_t at_once = w.unit.panels(std::min(tile_rows, M));
  const int64_t groups = divide_up(w.panels, at_once);
  Packed shared{};
  if (together) {
    shared = thread_scratch().shared.reserve(w.unit, M, tile_rows, K);
    parallel_for(shared.tiles, threads == 1 || M <= 2 * w.unit.rows ? shared.tiles : 1,
                 [&](int64_t begin, int64_t end) HWY_ATTR { pack_tiles(w.x(), K, 0, begin, end, shared); });
  }
  const int64_t grain = threads == 1 ? blocks * groups : together ? divide_up(blocks * groups, 32 * threads) : groups;
  parallel_for(blocks * groups, grain, [&](int64_t begin, int64_t end) HWY_ATTR {
    w.unit.begin();
    while (begin < end) {
      const int64_t m0 = begin / groups * block_rows, first = begin % groups,
                    last = std::min(groups, first + end - begin);
      const int64_t rows = std::min(block_rows, M - m0);
      Packed x;
      if (together) {
        x = shared;
        x.set_rows(rows);
        x.a += m0 * x.blocks * kSteps * 2 * kByteStep;
        x.scales += m0 * x.blocks;
        x.sums += m0 * x.blocks * kSteps;
      } else {
        x = thread_scratch().own.reserve(w.unit, rows, tile_rows, K);
        pack_tiles(w.x(), K, m0, 0, x.tiles, x);
      }
      product_task(w, x, m0, first * at_once, std::min(last * at_once, w.panels), at_once);
      begin += last - first;
    }
    w.unit.end();
  });
}

void ByteProductRun(const ByteUnit& unit, const LinearForward* products, int64_t count) {
  Work work{unit, products, count};
  for (int64_t i = 0; i < count; ++i) work.panels += divide_up(products[i].weight->N, kQuantWidth);
  product(work);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(ByteProductRun);

void byte_product(const ByteUnit& unit, const LinearForward* products, int64_t count) {
  HWY_DYNAMIC_DISPATCH(ByteProductRun)(unit, products, count);
}

}  // namespace lt2
#endif
