// The matrix product under every kernel: C (=, +=, -=) A B for fp32 blocks that lie in the caches.
//
// A is read element by element with any strides (so A and A^T cost the same), B and C are row-major. Every element of C
// is ONE chain of fused multiply-adds over k in ascending order, whatever M, N, the tile or the thread: a row's result
// never depends on its neighbouring rows, which makes batched and split runs agree bit for bit.
//
// Per-target header (no include guard of the usual kind): include inside foreach_target files only.
#if defined(LT2_OPS_SIMD_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LT2_OPS_SIMD_GEMM_INL_H_
#undef LT2_OPS_SIMD_GEMM_INL_H_
#else
#define LT2_OPS_SIMD_GEMM_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using VF = hn::Vec<F>;

enum class Store { kSet, kAdd, kSub };

/// Element (m, k) is at data[m * row + k * col].
struct Strided {
  const float* data;
  ptrdiff_t row, col;
};

// Accumulators fill most registers: 8 x 3 of 32 with AVX-512, 4 x 3 of 16 below.
constexpr int kTileRows = HWY_TARGET <= HWY_AVX3 ? 8 : 4;
constexpr int kTileVecs = 3;

// One tile of MR rows and NV vectors; the last vector holds `last` valid lanes when kMasked.
template <int MR, int NV, Store kStore, bool kMasked>
HWY_ATTR HWY_INLINE void gemm_tile(int64_t K, Strided a, const float* HWY_RESTRICT b, ptrdiff_t ldb,
                                   float* HWY_RESTRICT c, ptrdiff_t ldc, size_t last) {
  const F d;
  const ptrdiff_t lanes = static_cast<ptrdiff_t>(hn::Lanes(d));
  const auto mask = hn::FirstN(d, last);
  VF acc[MR][NV];
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 3
    for (int n = 0; n < NV; ++n) {
      if constexpr (kStore == Store::kSet) {
        acc[m][n] = hn::Zero(d);
      } else {
        const float* p = c + m * ldc + n * lanes;
        acc[m][n] = (kMasked && n == NV - 1) ? hn::MaskedLoad(mask, d, p) : hn::LoadU(d, p);
      }
    }
  }
  const float* a_row[MR];
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) a_row[m] = a.data + m * a.row;
  for (int64_t k = 0; k < K; ++k) {
    VF bv[NV];
#pragma GCC unroll 3
    for (int n = 0; n < NV; ++n) {
      const float* p = b + n * lanes;
      bv[n] = (kMasked && n == NV - 1) ? hn::MaskedLoad(mask, d, p) : hn::LoadU(d, p);
    }
    b += ldb;
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
      const VF av = hn::Set(d, *a_row[m]);
      a_row[m] += a.col;
#pragma GCC unroll 3
      for (int n = 0; n < NV; ++n) {
        acc[m][n] = kStore == Store::kSub ? hn::NegMulAdd(av, bv[n], acc[m][n]) : hn::MulAdd(av, bv[n], acc[m][n]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 3
    for (int n = 0; n < NV; ++n) {
      float* p = c + m * ldc + n * lanes;
      if (kMasked && n == NV - 1) {
        hn::BlendedStore(acc[m][n], mask, d, p);
      } else {
        hn::StoreU(acc[m][n], d, p);
      }
    }
  }
}

template <int NV, Store kStore, bool kMasked>
HWY_ATTR HWY_INLINE void gemm_panel(int64_t M, int64_t K, Strided a, const float* b, ptrdiff_t ldb, float* c,
                                    ptrdiff_t ldc, size_t last) {
  int64_t m = 0;
  for (; m + kTileRows <= M; m += kTileRows) {
    gemm_tile<kTileRows, NV, kStore, kMasked>(K, {a.data + m * a.row, a.row, a.col}, b, ldb, c + m * ldc, ldc, last);
  }
  a.data += m * a.row;
  c += m * ldc;
  // clang-format off
  switch (M - m) {
#define LT2_TILE(rows)                                                                                \
  case rows:                                                                                          \
    if constexpr (rows < kTileRows) gemm_tile<rows, NV, kStore, kMasked>(K, a, b, ldb, c, ldc, last); \
    break;
    LT2_TILE(1) LT2_TILE(2) LT2_TILE(3) LT2_TILE(4) LT2_TILE(5) LT2_TILE(6) LT2_TILE(7)
#undef LT2_TILE
    default: break;
  }
  // clang-format on
}

/// C [M, N] = A [M, K] B [K, N] (kAdd, kSub: added to, subtracted from C). B must stay in a cache for speed: the caller
/// blocks K and N.
template <Store kStore = Store::kSet>
HWY_ATTR inline void gemm(int64_t M, int64_t N, int64_t K, Strided a, const float* b, ptrdiff_t ldb, float* c,
                          ptrdiff_t ldc) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F()));
  int64_t n = 0;
  for (; n + kTileVecs * lanes <= N; n += kTileVecs * lanes) {
    gemm_panel<kTileVecs, kStore, false>(M, K, a, b + n, ldb, c + n, ldc, 0);
  }
  const int64_t rest = N - n;
  if (rest == 0) return;
  const size_t last = static_cast<size_t>((rest - 1) % lanes + 1);
  const bool whole = last == static_cast<size_t>(lanes);
  switch ((rest + lanes - 1) / lanes) {
    case 1:
      return whole ? gemm_panel<1, kStore, false>(M, K, a, b + n, ldb, c + n, ldc, 0)
                   : gemm_panel<1, kStore, true>(M, K, a, b + n, ldb, c + n, ldc, last);
    case 2:
      return whole ? gemm_panel<2, kStore, false>(M, K, a, b + n, ldb, c + n, ldc, 0)
                   : gemm_panel<2, kStore, true>(M, K, a, b + n, ldb, c + n, ldc, last);
    default:
      return gemm_panel<3, kStore, true>(M, K, a, b + n, ldb, c + n, ldc, last);
  }
}

/// to [cols, rows] = from [rows, cols], transposed. 4 x 4 blocks in registers, the rest one by one.
HWY_ATTR inline void transpose(int64_t rows, int64_t cols, const float* HWY_RESTRICT from, ptrdiff_t ld_from,
                               float* HWY_RESTRICT to, ptrdiff_t ld_to) {
  int64_t rows4 = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::Full128<float> d;
  const hn::Full128<double> d2;
  const int64_t cols4 = cols / 4 * 4;
  rows4 = rows / 4 * 4;
  for (int64_t r = 0; r < rows4; r += 4) {
    for (int64_t c = 0; c < cols4; c += 4) {
      const float* p = from + r * ld_from + c;
      const auto r0 = hn::LoadU(d, p), r1 = hn::LoadU(d, p + ld_from);
      const auto r2 = hn::LoadU(d, p + 2 * ld_from), r3 = hn::LoadU(d, p + 3 * ld_from);
      const auto a = hn::BitCast(d2, hn::InterleaveLower(d, r0, r1)),
                 b = hn::BitCast(d2, hn::InterleaveLower(d, r2, r3));
      const auto e = hn::BitCast(d2, hn::InterleaveUpper(d, r0, r1)),
                 f = hn::BitCast(d2, hn::InterleaveUpper(d, r2, r3));
      float* q = to + c * ld_to + r;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, a, b)), d, q);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, a, b)), d, q + ld_to);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, e, f)), d, q + 2 * ld_to);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, e, f)), d, q + 3 * ld_to);
    }
    for (int64_t c = cols4; c < cols; ++c) {
      for (int64_t i = r; i < r + 4; ++i) to[c * ld_to + i] = from[i * ld_from + c];
    }
  }
#endif
  for (int64_t r = rows4; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) to[c * ld_to + r] = from[r * ld_from + c];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();
#endif
