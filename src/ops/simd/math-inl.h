// exp, sigmoid and log on fp32 vectors, relative error below 3e-7 over the whole range (tests/ops/simd_math_test.cpp).
// NaN stays NaN. Results below the smallest normal number may come out as zero: the program flushes them anyway.
//
// Per-target header (no include guard of the usual kind): include inside foreach_target files only.
#if defined(LT2_OPS_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LT2_OPS_SIMD_MATH_INL_H_
#undef LT2_OPS_SIMD_MATH_INL_H_
#else
#define LT2_OPS_SIMD_MATH_INL_H_
#endif

#include "ops/simd/gemm-inl.h"

#include <limits>

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

/// 2^n for integer n in [-126, 127].
HWY_INLINE VF pow2(hn::Vec<hn::RebindToSigned<F>> n) {
  const hn::RebindToSigned<F> di;
  return hn::BitCast(F(), hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
}

/// e^x: 0 below -104, infinity above 88.73.
HWY_INLINE VF exp(VF x) {
  const F d;
  // x = n ln 2 + r, |r| <= ln 2 / 2. ln 2 in two parts, the first with so few bits that n times it is exact.
  const auto n = hn::NearestInt(hn::Mul(x, hn::Set(d, 1.44269504f)));
  const VF n_float = hn::ConvertTo(d, n);
  VF r = hn::NegMulAdd(n_float, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n_float, hn::Set(d, -2.12194440e-4f), r);
  // Taylor to r^7: the remainder is below 6e-9 of the result.
  VF p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(hn::Mul(r, r), p, r);
  p = hn::Add(p, hn::Set(d, 1.0f));
  // In two halves: 2^128, needed just below the overflow, is no fp32 number.
  const auto half = hn::ShiftRight<1>(n);
  const VF y = hn::Mul(hn::Mul(p, pow2(half)), pow2(hn::Sub(n, half)));
  // Far outside, n has wrapped and y is noise.
  const VF above = hn::IfThenElse(hn::Gt(x, hn::Set(d, 88.73f)), hn::Set(d, std::numeric_limits<float>::infinity()), y);
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, -104.0f)), hn::Zero(d), above);
}

/// 1 / (1 + e^-x).
HWY_INLINE VF sigmoid(VF x) {
  const VF one = hn::Set(F(), 1.0f);
  return hn::Div(one, hn::Add(one, exp(hn::Neg(x))));
}

/// Natural logarithm of a normal number: NaN below zero, -infinity at (and for subnormals as at) zero.
HWY_INLINE VF log(VF x) {
  const F d;
  const hn::RebindToSigned<F> di;
  // x = 2^n m with m in [2/3, 4/3), so that log m does not cancel against n ln 2. 0x3f2aaaab is 2/3.
  const auto bits = hn::BitCast(di, x);
  const auto n = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3f2aaaab)));
  const VF m = hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(n)));
  const VF n_float = hn::ConvertTo(d, n);
  // log m = 2 artanh(s) = 2 s + s^3 (2/3 + 2/5 s^2 + ..), s = (m - 1) / (m + 1), |s| <= 1/5.
  const VF f = hn::Sub(m, hn::Set(d, 1.0f));
  const VF s = hn::Div(f, hn::Add(m, hn::Set(d, 1.0f)));
  const VF z = hn::Mul(s, s);
  VF p = hn::Set(d, 2.0f / 11);
  p = hn::MulAdd(p, z, hn::Set(d, 2.0f / 9));
  p = hn::MulAdd(p, z, hn::Set(d, 2.0f / 7));
  p = hn::MulAdd(p, z, hn::Set(d, 2.0f / 5));
  p = hn::MulAdd(p, z, hn::Set(d, 2.0f / 3));
  p = hn::Mul(p, z);
  // 2 s = f - s f: f is exact where 2 s is rounded, which matters near x = 1.
  const VF log_m = hn::Add(f, hn::Mul(s, hn::Sub(p, f)));
  VF y = hn::MulAdd(n_float, hn::Set(d, -2.12194440e-4f), log_m);
  y = hn::MulAdd(n_float, hn::Set(d, 0.693359375f), y);
  const VF infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  y = hn::IfThenElse(hn::Lt(x, hn::Set(d, std::numeric_limits<float>::min())), hn::Neg(infinity), y);
  y = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Set(d, std::numeric_limits<float>::quiet_NaN()), y);
  // Infinity and NaN give themselves.
  return hn::IfThenElse(hn::Lt(x, infinity), y, x);
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();
#endif
