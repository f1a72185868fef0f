// A few query rows, as in decoding: keys and values are read once, straight from memory, and the arithmetic hides
// after that. Every number comes from the same operations in the same order as in the tiles of forward_kernel.cpp, so
// both agree bit for bit: dot products are one chain over e; in each segment of 2048 keys outputs are one chain over
// the keys and sums one in each block of 64, joined by one multiply-add; segments are merged on top. Only here the
// lanes of a vector are keys, which are transposed in registers.
//
// Per-target header (no include guard of the usual kind): include inside foreach_target files only.
#if defined(LT2_OPS_CAUSAL_ATTENTION_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LT2_OPS_CAUSAL_ATTENTION_DECODE_INL_H_
#undef LT2_OPS_CAUSAL_ATTENTION_DECODE_INL_H_
#else
#define LT2_OPS_CAUSAL_ATTENTION_DECODE_INL_H_
#endif

#include <hwy/cache_control.h>

#include <cmath>
#include <type_traits>

#include "ops/causal_attention/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

constexpr int64_t kFewRows = 8;
// Rows that share the transposed keys in registers.
constexpr int kRowGroup = 4;
// Keys whose values are read at a time: they stay in the first cache while all rows use them.
constexpr int64_t kValueKeys = 16;
constexpr int64_t kLanes = HWY_TARGET == HWY_SCALAR ? 1 : static_cast<int64_t>(HWY_LANES(float));

template <typename T>
struct DecodeKeys {
  const T *k, *v;  // where absolute position 0 lies or would lie
  int64_t k_stride, v_stride;
};

#if HWY_TARGET != HWY_SCALAR
/// 16 bytes from each of rows[0], rows[4], rows[8], .. side by side.
template <class D, typename T>
HWY_INLINE hn::Vec<D> load_every_fourth(D d, const T* const* rows, int64_t e) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::LoadU(d, reinterpret_cast<const float*>(rows[0] + e));
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, load_every_fourth(half, rows + hn::MaxLanes(half), e), load_every_fourth(half, rows, e));
  }
}

/// columns[i]: the i-th 32 bits after element e of each of kLanes rows.
template <typename T>
HWY_INLINE void transpose_words(const T* const* rows, int64_t e, VF (&columns)[4]) {
  const F d;
  const hn::RepartitionToWide<F> pairs;
  const VF r0 = load_every_fourth(d, rows, e), r1 = load_every_fourth(d, rows + 1, e);
  const VF r2 = load_every_fourth(d, rows + 2, e), r3 = load_every_fourth(d, rows + 3, e);
  const auto a = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1)),
             b = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto c = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1)),
             f = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  columns[0] = hn::BitCast(d, hn::InterleaveLower(pairs, a, b));
  columns[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, a, b));
  columns[2] = hn::BitCast(d, hn::InterleaveLower(pairs, c, f));
  columns[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, c, f));
}
#endif

/// acc[r] += q[r][e] * key
template <int R>
HWY_INLINE void add_products(const float* q, int64_t ld, int64_t e, VF key, VF (&acc)[R]) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) acc[r] = hn::MulAdd(hn::Set(F(), q[r * ld + e]), key, acc[r]);
}

/// scores[r][lane] = q[r] . rows[lane] for R rows of queries and kLanes keys. The lines of `next` (kLanes rows that are
/// wanted soon) are fetched on the way.
template <int R, typename T>
HWY_INLINE void dot_keys(const T* const* rows, const T* const* next, int64_t E, const float* q, int64_t ld,
                         float* scores) {
  const F d;
  VF acc[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) acc[r] = hn::Zero(d);
  int64_t e = 0;
#if HWY_TARGET != HWY_SCALAR
  constexpr int64_t kStep = 16 / sizeof(T);  // four steps make a line of 64 bytes
  for (; e + kStep <= E; e += kStep) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kLanes / 4; ++i) hwy::Prefetch(next[e / kStep % 4 * (kLanes / 4) + i] + e);
    VF columns[4];
    transpose_words(rows, e, columns);
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i) {
      if constexpr (sizeof(T) == 4) {
        add_products<R>(q, ld, e + i, columns[i], acc);
      } else {
        const hn::RebindToUnsigned<F> du;
        const auto pair = hn::BitCast(du, columns[i]);
        add_products<R>(q, ld, e + 2 * i, hn::BitCast(d, hn::ShiftLeft<16>(pair)), acc);
        add_products<R>(q, ld, e + 2 * i + 1, hn::BitCast(d, hn::And(pair, hn::Set(du, 0xffff0000u))), acc);
      }
    }
  }
#endif
  for (; e < E; ++e) {
    HWY_ALIGN T column[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) column[i] = rows[i][e];
    add_products<R>(q, ld, e, load(column, Whole()), acc);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) hn::StoreU(acc[r], d, scores + r * kKeys);
}

/// sums[r] = p[r][0] + p[r][1] + .., one chain per row, R chains side by side.
template <int R>
HWY_INLINE void add_keys(const float* p, int64_t keys, float* sums) {
  float acc[R] = {};
  for (int64_t j = 0; j < keys; ++j) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) acc[r] += p[r * kKeys + j];
  }
  std::copy_n(acc, R, sums);
}

/// body(r, std::integral_constant<int, R>) for groups of up to kRowGroup rows.
template <class Body>
HWY_INLINE void for_each_row_group(int64_t rows, Body&& body) {
  int64_t r = 0;
  for (; r + kRowGroup <= rows; r += kRowGroup) body(r, std::integral_constant<int, kRowGroup>());
  switch (rows - r) {
    case 1:
      return body(r, std::integral_constant<int, 1>());
    case 2:
      return body(r, std::integral_constant<int, 2>());
    case 3:
      return body(r, std::integral_constant<int, 3>());
    default:
      return;
  }
}

/// scores [count, kKeys] of one block; keys that do not exist or that a row does not see get -infinity.
template <typename T>
HWY_INLINE void decode_scores(const DecodeKeys<T>& keys, const TileSpan& tile, const BlockSpan& block, int64_t start,
                              int64_t E, const float* q, float* scores) {
  const int64_t ld = packed_length(E);
  for (int64_t j = block.key_begin / kLanes * kLanes; j < block.key_end; j += kLanes) {
    const T *rows[kLanes], *next[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      const int64_t key = std::clamp(j + i, block.key_begin, block.key_end - 1);
      rows[i] = keys.k + (start + key) * keys.k_stride;
      // After the last keys of the block come its first values.
      next[i] = key + kLanes < block.key_end ? rows[i] + kLanes * keys.k_stride
                                             : keys.v + (start + block.key_begin + i) * keys.v_stride;
    }
    for_each_row_group(tile.count, [&](int64_t r, auto group) HWY_ATTR {
      dot_keys<group()>(rows, next, E, q + r * ld, ld, scores + r * kKeys + j);
    });
  }
  for (int64_t r = 0; r < tile.count; ++r) {
    const int64_t x = (tile.row0 % tile.G + r) / tile.G;
    const int64_t begin = std::clamp<int64_t>(x - block.windowed + 1, block.key_begin, kKeys);
    const int64_t end = std::clamp<int64_t>(x - block.causal + 1, begin, block.key_end);
    std::fill(scores + r * kKeys, scores + r * kKeys + begin, -HUGE_VALF);
    std::fill(scores + r * kKeys + end, scores + (r + 1) * kKeys, -HUGE_VALF);
  }
}

/// scores [count, kKeys] -> probabilities relative to the running maximum; what was summed before shrinks to it.
HWY_INLINE void decode_softmax(const TileSpan& tile, const BlockSpan& block, int64_t Ev, float* scores,
                               const SoftmaxState& state) {
  const F d;
  float sums[kFewRows], shrink[kFewRows];
  for (int64_t r = 0; r < tile.count; ++r) {
    float* row = scores + r * kKeys;
    VF max_lanes = hn::Set(d, state.max[r]);
    for (int64_t j = 0; j < kKeys; j += kLanes) max_lanes = hn::Max(max_lanes, hn::LoadU(d, row + j));
    const VF max = hn::MaxOfLanes(d, max_lanes);
    for (int64_t j = 0; j < kKeys; j += kLanes) {
      hn::StoreU(exp2_of_negative(hn::Sub(hn::LoadU(d, row + j), max)), d, row + j);
    }
    shrink[r] = hn::GetLane(exp2_of_negative(hn::Sub(hn::Set(d, state.max[r]), max)));
    state.max[r] = hn::GetLane(max);
    if (shrink[r] != 1.0f) scale_row(state.o + r * packed_length(Ev), Ev, shrink[r]);
  }
  for_each_row_group(tile.count, [&](int64_t r, auto group) HWY_ATTR {
    add_keys<group()>(scores + r * kKeys + block.key_begin, block.key_end - block.key_begin, sums + r);
  });
  for (int64_t r = 0; r < tile.count; ++r) {
    state.sum[r] = hn::GetLane(hn::MulAdd(hn::Set(d, state.sum[r]), hn::Set(d, shrink[r]), hn::Set(d, sums[r])));
  }
}

/// Rows of keys or values.
template <typename T>
struct RowSpan {
  const T* data;
  int64_t stride;
};

/// o[r] += sum over keys p[r][j] v[j] for R rows and N vectors of channels; the same part of `next` is fetched.
template <int R, int N, typename T, class Part>
HWY_INLINE void add_values(RowSpan<T> v, RowSpan<T> next, int64_t keys, const float* p, Part part, float* o,
                           int64_t ld) {
  constexpr int kVectorsPerLine = std::max<int>(1, 64 / static_cast<int>(sizeof(T) * kLanes));
  VF acc[R][N];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) acc[r][n] = load(o + r * ld + n * kLanes, part);
  }
  for (int64_t j = 0; j < keys; ++j) {
    VF weight[R];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) weight[r] = hn::Set(F(), p[r * kKeys + j]);
#pragma GCC unroll 8
    for (int n = 0; n < N; n += kVectorsPerLine) hwy::Prefetch(next.data + j * next.stride + n * kLanes);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const VF value = load(v.data + j * v.stride + n * kLanes, part);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) acc[r][n] = hn::MulAdd(weight[r], value, acc[r][n]);
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) store(acc[r][n], o + r * ld + n * kLanes, part);
  }
}

template <int R, typename T>
HWY_INLINE void add_value_rows(RowSpan<T> v, RowSpan<T> next, int64_t keys, int64_t Ev, const float* p, float* o,
                               int64_t ld) {
  const auto at = [](RowSpan<T> rows, int64_t e) { return RowSpan<T>{rows.data + e, rows.stride}; };
  int64_t e = 0;
  for (; e + 8 * kLanes <= Ev; e += 8 * kLanes) add_values<R, 8>(at(v, e), at(next, e), keys, p, Whole(), o + e, ld);
  for (; e + 4 * kLanes <= Ev; e += 4 * kLanes) add_values<R, 4>(at(v, e), at(next, e), keys, p, Whole(), o + e, ld);
  for (; e + kLanes <= Ev; e += kLanes) add_values<R, 1>(at(v, e), at(next, e), keys, p, Whole(), o + e, ld);
  if (e < Ev) add_values<R, 1>(at(v, e), at(next, e), keys, p, First{static_cast<size_t>(Ev - e)}, o + e, ld);
}

template <typename T>
HWY_INLINE void decode_values(const DecodeKeys<T>& keys, const TileSpan& tile, const BlockSpan& block, int64_t start,
                              int64_t Ev, const float* p, float* o) {
  const int64_t ld = packed_length(Ev);
  for (int64_t j = block.key_begin; j < block.key_end; j += kValueKeys) {
    const int64_t count = std::min(kValueKeys, block.key_end - j);
    const RowSpan<T> v{keys.v + (start + j) * keys.v_stride, keys.v_stride};
    // After the last values of the block come the next block's first keys.
    const RowSpan<T> next = j + kValueKeys < block.key_end
                                ? RowSpan<T>{v.data + kValueKeys * keys.v_stride, keys.v_stride}
                                : RowSpan<T>{keys.k + (start + kKeys) * keys.k_stride, keys.k_stride};
    int64_t r = 0;
    // Two rows of 8 accumulators need the 32 registers of AVX-512.
    if constexpr (kLanes == 16) {
      for (; r + 2 <= tile.count; r += 2) add_value_rows<2>(v, next, count, Ev, p + r * kKeys + j, o + r * ld, ld);
    }
    for (; r < tile.count; ++r) add_value_rows<1>(v, next, count, Ev, p + r * kKeys + j, o + r * ld, ld);
  }
}

/// Blocks [block_begin, block_end) for a tile of at most kFewRows rows; q [count, packed_length(E)].
template <typename T>
HWY_NOINLINE void decode_blocks(const DecodeKeys<T>& keys, const TileSpan& tile, int64_t block_begin, int64_t block_end,
                                int64_t E, int64_t Ev, const float* q, float* scores, const SoftmaxState& state) {
  for (int64_t b = block_begin; b < block_end; ++b) {
    const BlockSpan block(tile, b);
    if (block.key_begin >= block.key_end) continue;
    decode_scores(keys, tile, block, b * kKeys, E, q, scores);
    decode_softmax(tile, block, Ev, scores, state);
    decode_values(keys, tile, block, b * kKeys, Ev, scores, state.o);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();
#endif
