// What the forward and the backward kernel share: tiles of 96 query rows by blocks of 64 keys.
//
// Scores are kept transposed, [keys, rows]: then keys and values are read as they lie in memory (the matrix product
// reads its left factor with any strides), the softmax runs down the columns without horizontal sums, and one vector
// holds one key's scores for many rows.
//
// The query heads of one key head are stacked: row r is position r / G, head r % G, so they share every key block, and
// in decoding one broadcast of a key element serves them all.
//
// Per-target header (no include guard of the usual kind): include inside foreach_target files only.
#if defined(LT2_OPS_CAUSAL_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LT2_OPS_CAUSAL_ATTENTION_TILE_INL_H_
#undef LT2_OPS_CAUSAL_ATTENTION_TILE_INL_H_
#else
#define LT2_OPS_CAUSAL_ATTENTION_TILE_INL_H_
#endif

#include <algorithm>
#include <cfloat>

#include "ops/causal_attention/kernel.h"
#include "ops/simd/gemm-inl.h"
#include "ops/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

constexpr int64_t kRows = 96;  // two panels of 3 vectors with AVX-512, four with AVX2
constexpr int64_t kKeys = 64;  // kAttentionBlock of op.h, whose value the results depend on
constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

/// 2^x for x <= 0, relative error below 2e-7: exactly 1 at 0, exactly 0 below -126. NaN stays NaN.
HWY_INLINE VF exp2_of_negative(VF x) {
  const F d;
  const hn::RebindToSigned<F> di;
  const VF lowest = hn::Set(d, -126.0f);
  const auto zero = hn::Lt(x, lowest);
  x = hn::IfThenElse(zero, lowest, x);
  // Adding 1.5 * 2^23 leaves round(x) in the low bits of the sum.
  const VF shifter = hn::Set(d, 12582912.0f);
  const VF shifted = hn::Add(x, shifter);
  const VF r = hn::Sub(x, hn::Sub(shifted, shifter));
  // Minimax on [-1/2, 1/2] with the constant term fixed at 1.
  VF p = hn::Set(d, 1.5353362e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3398875e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 9.61843692e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.55033237e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.40226477e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.93147182e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  // p lies in [2^-1/2, 2^1/2] and x >= -126: adding round(x) to the exponent gives a normal number.
  const VF y = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
  return hn::IfThenZeroElse(zero, y);
}

/// Row length of packed fp32 copies: whole cache lines, and never a power of two, which would map the rows of a block
/// to a few sets of the caches.
inline int64_t packed_length(int64_t E) { return (E + 15) / 16 * 16 + 16; }

/// to[e] = from[e] * scale as fp32.
template <typename T>
HWY_INLINE void widen_row(const T* from, int64_t E, float scale, float* to) {
  const VF s = hn::Set(F(), scale);
  for_each_vector(E, [&](int64_t e, auto part) HWY_ATTR { store(hn::Mul(load(from + e, part), s), to + e, part); });
}

/// to[e] = from[e] * scale, rounded to T.
template <typename T>
HWY_INLINE void narrow_row(const float* from, int64_t E, float scale, T* to) {
  const VF s = hn::Set(F(), scale);
  for_each_vector(E, [&](int64_t e, auto part) HWY_ATTR { store(hn::Mul(load(from + e, part), s), to + e, part); });
}

/// The rows of one key head: where they lie and what they see.
struct Heads {
  int64_t b, hk, G, rows;  // rows = L G
  int64_t first_query;     // absolute position of query 0

  Heads(const AttentionShape& s, int64_t batch, int64_t key_head)
      : b(batch), hk(key_head), G(s.H / s.Hk), rows(s.L * (s.H / s.Hk)), first_query(s.first_position + s.S - s.L) {}

  template <typename T, typename Pointer>
  T* row(const AttentionView<Pointer>& view, int64_t r) const {
    return static_cast<T*>(view.data) + b * view.batch + r / G * view.position + (hk * G + r % G) * view.head;
  }
  /// Index into [B, H, L].
  int64_t lse_index(const AttentionShape& s, int64_t r) const { return (b * s.H + hk * G + r % G) * s.L + r / G; }
};

/// Rows [row0, row0 + count) of a Heads and the keys they see.
struct TileSpan {
  int64_t row0, count;
  int64_t padded;       // count rounded up to whole vectors; the rows beyond count are computed and thrown away
  int64_t first, last;  // absolute positions of the first and the last row
  int64_t begin, end;   // absolute positions of the keys that any row sees
  int64_t window, G;

  TileSpan(const AttentionShape& s, const Heads& heads, int64_t row)
      : row0(row), count(std::min(kRows, heads.rows - row)), window(s.window), G(heads.G) {
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(F()));
    padded = (count + lanes - 1) / lanes * lanes;
    first = heads.first_query + row0 / G;
    last = heads.first_query + (row0 + count - 1) / G;
    begin = std::max(s.first_position, first - window + 1);
    end = last + 1;
  }
};

/// A key block as one tile sees it.
struct BlockSpan {
  int64_t key_begin, key_end;  // within the block, 0 .. 64
  int64_t row_begin, row_end;  // within the tile, whole vectors; rows outside see none of these keys
  bool masked;                 // some row does not see some key
  // Key j is visible to a row at position tile.first + x when j + causal <= x < j + windowed.
  int64_t causal, windowed;

  BlockSpan(const TileSpan& tile, int64_t block) {
    const int64_t start = block * kKeys;
    key_begin = std::max<int64_t>(0, tile.begin - start);
    key_end = std::min(kKeys, tile.end - start);
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(F()));
    // Row r of the tile is at position (shift + r) / G after tile.first.
    const int64_t shift = tile.row0 % tile.G;
    const int64_t first_seeing = std::max<int64_t>(0, start + key_begin - tile.first);
    row_begin = std::max<int64_t>(0, first_seeing * tile.G - shift) / lanes * lanes;
    const int64_t last_seeing = std::min(tile.last, start + key_end - 2 + tile.window) - tile.first;
    const int64_t rows = std::min(tile.count, (last_seeing + 1) * tile.G - shift);
    row_end = rows == tile.count ? tile.padded : std::min(tile.padded, (rows + lanes - 1) / lanes * lanes);
    masked = tile.first < start + key_end - 1 || tile.last - tile.window >= start + key_begin;
    causal = start - tile.first;
    windowed = causal + tile.window;
  }
  bool empty() const { return key_begin >= key_end || row_begin >= row_end; }
};

/// Which lanes of rows at positions x (relative to the tile's first) see key j.
HWY_INLINE auto visible(const BlockSpan& block, int64_t j, VF x) {
  const F d;
  // Small integers are exact in fp32; a window far beyond the tile never hides anything.
  const float causal = static_cast<float>(j + block.causal);
  const float windowed = static_cast<float>(std::min<int64_t>(j + block.windowed, 1 << 22));
  return hn::And(hn::Le(hn::Set(d, causal), x), hn::Lt(x, hn::Set(d, windowed)));
}

/// x[r] of the rows of a tile for visible(); padding rows repeat the last one.
HWY_INLINE void fill_positions(const TileSpan& tile, float* x) {
  for (int64_t r = 0; r < tile.padded; ++r) {
    x[r] = static_cast<float>((tile.row0 % tile.G + std::min(r, tile.count - 1)) / tile.G);
  }
}

/// Queries (or output gradients, E then their width) of a tile as fp32 rows [count, packed_length(E)].
template <typename T>
HWY_INLINE void pack_rows(const Heads& heads, const TileSpan& tile, const AttentionInputView& view, int64_t E,
                          float scale, float* rows) {
  for (int64_t r = 0; r < tile.count; ++r) {
    widen_row(heads.row<const T>(view, tile.row0 + r), E, scale, rows + r * packed_length(E));
  }
}

/// The same, and transposed [E, kRows] with zeros in the padding.
template <typename T>
HWY_INLINE void pack_tile(const Heads& heads, const TileSpan& tile, const AttentionInputView& view, int64_t E,
                          float scale, float* rows, float* transposed) {
  pack_rows<T>(heads, tile, view, E, scale, rows);
  transpose(tile.count, E, rows, packed_length(E), transposed, kRows);
  for (int64_t e = 0; e < E; ++e) {
    for (int64_t r = tile.count; r < tile.padded; ++r) transposed[e * kRows + r] = 0;
  }
}

/// Pieces of one aligned fp32 allocation, each on its own cache lines.
class Arena {
 public:
  explicit Arena(float* memory) : next_(memory) {}
  float* take(int64_t count) {
    float* p = next_;
    next_ += size(count);
    return p;
  }
  static int64_t size(int64_t count) { return (count + 15) / 16 * 16; }

 private:
  float* next_;
};

/// Running softmax of a tile's rows, in base 2.
struct SoftmaxState {
  float* max;  // [kRows]
  float* sum;  // [kRows]
  float* o;    // [count, packed_length(Ev)]

  static int64_t size(int64_t rows, int64_t Ev) {
    return 2 * Arena::size(kRows) + Arena::size(rows * packed_length(Ev));
  }
  SoftmaxState(Arena& arena, int64_t rows, int64_t Ev)
      : max(arena.take(kRows)), sum(arena.take(kRows)), o(arena.take(rows * packed_length(Ev))) {}

  void reset(const TileSpan& tile, int64_t Ev) const {
    // Not -infinity: differences of maxima stay numbers.
    std::fill_n(max, tile.padded, -FLT_MAX);
    std::fill_n(sum, tile.padded, 0.0f);
    std::fill_n(o, tile.count * packed_length(Ev), 0.0f);
  }
};

/// o[e] *= factor
HWY_INLINE void scale_row(float* o, int64_t E, float factor) {
  const VF f = hn::Set(F(), factor);
  for_each_vector(E, [&](int64_t e, auto part) HWY_ATTR { store(hn::Mul(load(o + e, part), f), o + e, part); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();
#endif
