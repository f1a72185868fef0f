// Rows of fp32 or bf16 numbers as fp32 vectors: one loop body serves both types, whole vectors and the rest of a row.
//
//   for_each_vector(n, [&](int64_t i, auto part) HWY_ATTR { store(hn::Mul(load(x + i, part), s), y + i, part); });
//
// bf16 is stored as uint16_t; narrowing rounds to nearest even.
//
// Per-target header (no include guard of the usual kind): include inside foreach_target files only.
#if defined(LT2_OPS_SIMD_IO_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LT2_OPS_SIMD_IO_INL_H_
#undef LT2_OPS_SIMD_IO_INL_H_
#else
#define LT2_OPS_SIMD_IO_INL_H_
#endif

#include "ops/simd/gemm-inl.h"

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

/// All lanes of a vector, or the first `count` (the others load as zero and are not stored).
struct Whole {};
struct First {
  size_t count;
};

/// Upper half of fp32 bits, rounded to nearest even; NaN stays NaN.
HWY_INLINE hn::Vec<hn::RebindToUnsigned<F>> round_to_bf16_bits(VF v) {
  const hn::RebindToUnsigned<F> du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff))));
  // Rounding could carry a NaN's payload into infinity or the sign.
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), hn::Set(du, 0x7fc0), rounded);
}

HWY_INLINE VF load(const float* p, Whole) { return hn::LoadU(F(), p); }
HWY_INLINE VF load(const float* p, First part) { return hn::MaskedLoad(hn::FirstN(F(), part.count), F(), p); }
HWY_INLINE VF load(const uint16_t* p, Whole) {
  const hn::RebindToUnsigned<F> du;
  const hn::Rebind<uint16_t, F> d16;
  return hn::BitCast(F(), hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, p))));
}
HWY_INLINE VF load(const uint16_t* p, First part) {
  HWY_ALIGN uint16_t lanes[HWY_MAX_BYTES / sizeof(float)] = {};
  std::memcpy(lanes, p, part.count * sizeof(uint16_t));
  return load(lanes, Whole());
}

HWY_INLINE void store(VF v, float* p, Whole) { hn::StoreU(v, F(), p); }
HWY_INLINE void store(VF v, float* p, First part) { hn::BlendedStore(v, hn::FirstN(F(), part.count), F(), p); }
HWY_INLINE void store(VF v, uint16_t* p, Whole) {
  const hn::Rebind<uint16_t, F> d16;
  hn::StoreU(hn::TruncateTo(d16, round_to_bf16_bits(v)), d16, p);
}
HWY_INLINE void store(VF v, uint16_t* p, First part) {
  HWY_ALIGN uint16_t lanes[HWY_MAX_BYTES / sizeof(float)];
  store(v, lanes, Whole());
  std::memcpy(p, lanes, part.count * sizeof(uint16_t));
}

/// body(i, Whole()) for whole vectors of [0, n), then body(i, First{rest}).
template <class Body>
HWY_INLINE void for_each_vector(int64_t n, Body&& body) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F()));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(i, Whole());
  if (i < n) body(i, First{static_cast<size_t>(n - i)});
}

/// Sum of term(i, part) over [0, n) in an order that depends on n only. Terms of lanes not loaded must be zero.
template <class Term>
HWY_INLINE VF sum_over(int64_t n, Term&& term) {
  const F d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  // Four chains hide the latency of the additions.
  VF s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::Add(s0, term(i, Whole()));
    s1 = hn::Add(s1, term(i + lanes, Whole()));
    s2 = hn::Add(s2, term(i + 2 * lanes, Whole()));
    s3 = hn::Add(s3, term(i + 3 * lanes, Whole()));
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::Add(s0, term(i, Whole()));
  if (i < n) s1 = hn::Add(s1, term(i, First{static_cast<size_t>(n - i)}));
  return hn::Add(hn::Add(s0, s1), hn::Add(s2, s3));
}

HWY_INLINE float sum_of_lanes(VF v) { return hn::GetLane(hn::SumOfLanes(F(), v)); }
HWY_INLINE float max_of_lanes(VF v) { return hn::GetLane(hn::MaxOfLanes(F(), v)); }

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();
#endif
