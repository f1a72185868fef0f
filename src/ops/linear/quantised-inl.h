// int8 and int4 weights (kernel.h) widened to fp32: a tile of few rows straight from memory, or a block for the tiles
// of many. Both make of every y[m, n] the same chain of multiply-adds.
//
// Per-target header (no include guard of the usual kind): include inside foreach_target files only.
#if defined(LT2_OPS_LINEAR_QUANTISED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LT2_OPS_LINEAR_QUANTISED_INL_H_
#undef LT2_OPS_LINEAR_QUANTISED_INL_H_
#else
#define LT2_OPS_LINEAR_QUANTISED_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "ops/linear/kernel.h"
#include "ops/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

// A lambda that stayed a call would keep the sums in memory.
#ifndef LT2_ALWAYS_INLINE
#define LT2_ALWAYS_INLINE __attribute__((always_inline))
#endif

using I32 = hn::RebindToSigned<F>;
using VI32 = hn::Vec<I32>;

// Words next to one another in a panel of kQuantWidth channels, from channel n on, a whole vector; the panel has
// `words` rows of them.
HWY_INLINE const uint8_t* quantised_channels(const void* panels, int64_t n, int64_t words) {
  return static_cast<const uint8_t*>(panels) + n / kQuantWidth * words * kQuantRow + n % kQuantWidth * 4;
}

// Bytes that memory is read ahead of the hardware.
constexpr ptrdiff_t kQuantAhead = 1024;
inline int64_t int4_groups(int64_t K) { return (K + kQuantGroup - 1) / kQuantGroup; }

HWY_INLINE VI32 load_words(const uint8_t* p) { return hn::LoadU(I32(), reinterpret_cast<const int32_t*>(p)); }

// The numbers that four bits stand for, for number_in.
HWY_INLINE VF nibble_table() {
#if HWY_TARGET <= HWY_AVX3
  HWY_ALIGN static constexpr float kNumbers[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
  return hn::Load(F(), kNumbers);
#else
  return hn::Zero(F());
#endif
}

// Number j of a word's quant_pack(kElement), in every lane.
template <Element kElement, int j>
HWY_INLINE VF number_in(VF table, VI32 words) {
  if constexpr (kElement == Element::kInt8) {
    const VI32 top = hn::Xor(hn::ShiftLeft<24 - 8 * j>(words), hn::Set(I32(), INT32_MIN));
    return hn::ConvertTo(F(), hn::ShiftRight<24>(top));
  } else {
    constexpr int kBit = quant_bit(Element::kInt4, j);
#if HWY_TARGET <= HWY_AVX3
    // The instruction looks at four bits of an index only; Highway's own way to make indices would check the others.
    return hn::TableLookupLanes(table, hn::Indices512<float>{hn::ShiftRight<kBit>(words).raw});
#else
    const VI32 top = hn::Xor(hn::ShiftLeft<28 - kBit>(words), hn::Set(I32(), INT32_MIN));
    return hn::ConvertTo(F(), hn::ShiftRight<28>(top));
#endif
  }
}

// body(std::integral_constant<int, j>) for the numbers of a word.
template <Element kElement, class Body>
HWY_INLINE void for_each_number(Body&& body) {
  const auto four = [&](auto first) HWY_ATTR LT2_ALWAYS_INLINE {
    constexpr int j = decltype(first)::value;
    body(std::integral_constant<int, j>());
    body(std::integral_constant<int, j + 1>());
    body(std::integral_constant<int, j + 2>());
    body(std::integral_constant<int, j + 3>());
  };
  four(std::integral_constant<int, 0>());
  if constexpr (kElement == Element::kInt4) four(std::integral_constant<int, 4>());
}

/// to [depth][ld], a vector of columns, = rows k0 .. k0 + depth of channels n .. ; k0 is a multiple of the numbers of a
/// word.
template <Element kElement>
HWY_INLINE void widen_quantised(const void* panels, int64_t K, int64_t n, int64_t k0, int64_t depth, float* to,
                                ptrdiff_t ld) {
  constexpr int64_t kPack = quant_pack(kElement);
  const uint8_t* from = quantised_channels(panels, n, quant_words(kElement, K)) + k0 / kPack * kQuantRow;
  const VF table = nibble_table();
  for (int64_t k = 0; k < depth; k += kPack, from += kQuantRow) {
    const VI32 words = load_words(from);
    for_each_number<kElement>([&](auto j) HWY_ATTR LT2_ALWAYS_INLINE {
      if (k + j < depth) hn::StoreU(number_in<kElement, j>(table, words), F(), to + (k + j) * ld);
    });
  }
}

HWY_INLINE const uint16_t* int4_scales(const void* scales, int64_t K, int64_t n) {
  return static_cast<const uint16_t*>(scales) + n / kQuantWidth * int4_groups(K) * kQuantWidth + n % kQuantWidth;
}

/// to [groups][cols] = the scales of the groups in k0 .. k0 + depth, of channels n0 .. n0 + cols, whole vectors.
HWY_INLINE void widen_scales(const void* scales, int64_t K, int64_t n0, int64_t cols, int64_t k0, int64_t depth,
                             float* to) {
  const int64_t step = static_cast<int64_t>(hn::Lanes(F())), first = k0 / kQuantGroup, count = int4_groups(depth);
  for (int64_t i = 0; i < cols; i += step) {
    const uint16_t* from = int4_scales(scales, K, n0 + i) + first * kQuantWidth;
    for (int64_t g = 0; g < count; ++g) {
      hn::StoreU(load(from + g * kQuantWidth, Whole()), F(), to + g * cols + i);
    }
  }
}

/// Sums of int8 products, of channels n0 .. n0 + cols, times their scales.
HWY_INLINE void scale_row(const void* scales, int64_t n0, int64_t cols, float* sums) {
  const float* from = static_cast<const float*>(scales) + n0;
  for_each_vector(cols, [&](int64_t i, auto part)
                            HWY_ATTR { store(hn::Mul(load(from + i, part), load(sums + i, part)), sums + i, part); });
}

// Vectors of channels a tile of `rows` rows takes at once.
constexpr int64_t kQuantVectors = 4;
constexpr int quantised_tile_vectors(int rows) { return rows == 1 ? kQuantVectors : HWY_TARGET <= HWY_AVX3 ? 3 : 2; }
inline int64_t quantised_vectors(int64_t rows) { return quantised_tile_vectors(static_cast<int>(rows)); }

// acc += the products of the numbers in words, at most `count` of each, with a [count][MR].
template <Element kElement, int MR, int NV>
HWY_INLINE void add_words(VF table, const VI32 (&words)[NV], int64_t count, const float* HWY_RESTRICT a,
                          VF (&acc)[MR][NV]) {
  const auto row = [&](auto j) HWY_ATTR LT2_ALWAYS_INLINE {
    VF b[NV];
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) b[i] = number_in<kElement, j>(table, words[i]);
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
      const VF x = hn::Set(F(), a[j * MR + m]);
#pragma GCC unroll 4
      for (int i = 0; i < NV; ++i) acc[m][i] = hn::MulAdd(x, b[i], acc[m][i]);
    }
  };
  if (count >= quant_pack(kElement)) return for_each_number<kElement>(row);
  for_each_number<kElement>([&](auto j) HWY_ATTR LT2_ALWAYS_INLINE {
    if (j < count) row(j);
  });
}

// sums [MR][NV vectors] = a [K][MR] B for the NV vectors of channels from n on.
template <int MR, int NV>
HWY_INLINE void int8_tile(int64_t K, const float* HWY_RESTRICT a, const void* panels, const void* scales, int64_t n,
                          float* HWY_RESTRICT sums) {
  const F d;
  const ptrdiff_t step = static_cast<ptrdiff_t>(hn::Lanes(d));
  constexpr int64_t kPack = quant_pack(Element::kInt8);
  const uint8_t* from[NV];
  VF acc[MR][NV];
#pragma GCC unroll 4
  for (int i = 0; i < NV; ++i) {
    from[i] = quantised_channels(panels, n + i * step, quant_words(Element::kInt8, K));
  }
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) acc[m][i] = hn::Zero(d);
  }
  const VF table = nibble_table();
  for (int64_t k = 0; k < K; k += kPack, a += kPack * MR) {
    VI32 words[NV];
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) {
      words[i] = load_words(from[i] + k / kPack * kQuantRow);
      __builtin_prefetch(from[i] + k / kPack * kQuantRow + kQuantAhead);
    }
    add_words<Element::kInt8>(table, words, K - k, a, acc);
  }
  const float* scale = static_cast<const float*>(scales) + n;
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) {
      hn::StoreU(hn::Mul(hn::LoadU(d, scale + i * step), acc[m][i]), d, sums + (m * NV + i) * step);
    }
  }
}

template <int MR, int NV>
HWY_INLINE void int4_tile(int64_t K, const float* HWY_RESTRICT a, const void* panels, const void* scales, int64_t n,
                          float* HWY_RESTRICT sums) {
  const F d;
  const ptrdiff_t step = static_cast<ptrdiff_t>(hn::Lanes(d));
  constexpr int64_t kPack = quant_pack(Element::kInt4);
  const VF table = nibble_table();
  const uint8_t* from[NV];
  const uint16_t* scale[NV];
#pragma GCC unroll 4
  for (int i = 0; i < NV; ++i) {
    from[i] = quantised_channels(panels, n + i * step, quant_words(Element::kInt4, K));
    scale[i] = int4_scales(scales, K, n + i * step);
  }
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) hn::StoreU(hn::Zero(d), d, sums + (m * NV + i) * step);
  }
  int64_t at = 0;  // of the panels' bytes
  for (int64_t k0 = 0; k0 < K; k0 += kQuantGroup) {
    const int64_t depth = std::min(kQuantGroup, K - k0);
    VF acc[MR][NV];
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
      for (int i = 0; i < NV; ++i) acc[m][i] = hn::Zero(d);
    }
    for (int64_t k = 0; k < depth; k += kPack, at += kQuantRow, a += kPack * MR) {
      VI32 words[NV];
#pragma GCC unroll 4
      for (int i = 0; i < NV; ++i) {
        words[i] = load_words(from[i] + at);
        __builtin_prefetch(from[i] + at + kQuantAhead);
      }
      add_words<Element::kInt4>(table, words, depth - k, a, acc);
    }
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) {
      const VF s = load(scale[i] + k0 / kQuantGroup * kQuantWidth, Whole());
#pragma GCC unroll 8
      for (int m = 0; m < MR; ++m) {
        float* to = sums + (m * NV + i) * step;
        hn::StoreU(hn::MulAdd(acc[m][i], s, hn::LoadU(d, to)), d, to);
      }
    }
  }
}

template <Element kElement, int MR>
HWY_INLINE void quantised_tile_rows(int64_t vectors, int64_t K, const float* a, const void* panels, const void* scales,
                                    int64_t n, float* sums) {
  constexpr int kVectors = quantised_tile_vectors(MR);
  if constexpr (kElement == Element::kInt8) {
    vectors == 1 ? int8_tile<MR, 1>(K, a, panels, scales, n, sums)
                 : int8_tile<MR, kVectors>(K, a, panels, scales, n, sums);
  } else {
    vectors == 1 ? int4_tile<MR, 1>(K, a, panels, scales, n, sums)
                 : int4_tile<MR, kVectors>(K, a, panels, scales, n, sums);
  }
}

/// sums [rows][vectors] = a [K][rows] B, scaled, for that many vectors of channels from n on: one or
/// quantised_vectors(rows).
template <Element kElement>
void quantised_tile(int64_t rows, int64_t vectors, int64_t K, const float* a, const void* panels, const void* scales,
                    int64_t n, float* sums) {
  switch (rows) {
#define LT2_TILE(MR)                                                                                          \
  case MR:                                                                                                    \
    if constexpr (MR <= kTileRows) quantised_tile_rows<kElement, MR>(vectors, K, a, panels, scales, n, sums); \
    break;
    // clang-format off
    LT2_TILE(1) LT2_TILE(2) LT2_TILE(3) LT2_TILE(4) LT2_TILE(5) LT2_TILE(6) LT2_TILE(7) LT2_TILE(8)
    // clang-format on
#undef LT2_TILE
        default : break;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();
#endif
