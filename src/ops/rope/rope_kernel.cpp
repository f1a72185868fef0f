#include <algorithm>

#include "base/threads.h"
#include "ops/rope/kernel.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rope/rope_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// Numbers a thread should at least get.
constexpr int64_t kGrain = 32768;

// 2 n neighbouring numbers as their even and odd members.
HWY_INLINE void load_pairs(const float* p, Whole, VF& even, VF& odd) { hn::LoadInterleaved2(F(), p, even, odd); }
HWY_INLINE void store_pairs(VF even, VF odd, float* p, Whole) { hn::StoreInterleaved2(even, odd, F(), p); }
// Two bf16 numbers are one 32-bit word, the even one below. One-lane Highway cannot reinterpret two halves as a word.
HWY_INLINE void load_pairs(const uint16_t* p, Whole, VF& even, VF& odd) {
  const hn::RebindToUnsigned<F> du;
#if HWY_TARGET == HWY_SCALAR
  const auto both = hn::Set(du, p[0] | static_cast<uint32_t>(p[1]) << 16);
#else
  const auto both = hn::BitCast(du, hn::LoadU(hn::Repartition<uint16_t, F>(), p));
#endif
  even = hn::BitCast(F(), hn::ShiftLeft<16>(both));
  odd = hn::BitCast(F(), hn::And(both, hn::Set(du, 0xffff0000u)));
}
HWY_INLINE void store_pairs(VF even, VF odd, uint16_t* p, Whole) {
  const auto below = round_to_bf16_bits(even), above = round_to_bf16_bits(odd);
#if HWY_TARGET == HWY_SCALAR
  p[0] = static_cast<uint16_t>(hn::GetLane(below));
  p[1] = static_cast<uint16_t>(hn::GetLane(above));
#else
  const hn::Repartition<uint16_t, F> d16;
  hn::StoreU(hn::BitCast(d16, hn::Or(below, hn::ShiftLeft<16>(above))), d16, p);
#endif
}
template <class T>
HWY_INLINE void load_pairs(const T* p, First part, VF& even, VF& odd) {
  HWY_ALIGN T lanes[2 * HWY_MAX_BYTES / sizeof(float)] = {};
  std::copy(p, p + 2 * part.count, lanes);
  load_pairs(lanes, Whole(), even, odd);
}
template <class T>
HWY_INLINE void store_pairs(VF even, VF odd, T* p, First part) {
  HWY_ALIGN T lanes[2 * HWY_MAX_BYTES / sizeof(float)];
  store_pairs(even, odd, lanes, Whole());
  std::copy(lanes, lanes + 2 * part.count, p);
}

template <bool kPairs, class T>
HWY_INLINE void rotate_row(int64_t half, const T* x, const float* table, VF sign, T* y) {
  for_each_vector(half, [&](int64_t i, auto part) HWY_ATTR {
    const VF cos = load(table + i, part), sin = hn::Mul(sign, load(table + half + i, part));
    VF a, b;
    if constexpr (kPairs) {
      load_pairs(x + 2 * i, part, a, b);
    } else {
      a = load(x + i, part);
      b = load(x + half + i, part);
    }
    const VF first = hn::NegMulAdd(b, sin, hn::Mul(a, cos));
    const VF second = hn::MulAdd(a, sin, hn::Mul(b, cos));
    if constexpr (kPairs) {
      store_pairs(first, second, y + 2 * i, part);
    } else {
      store(first, y + i, part);
      store(second, y + half + i, part);
    }
  });
}

template <bool kPairs, class T>
void rotate(const RopeShape& s, const T* x, const float* const* table, T* y) {
  parallel_for(s.B * s.L, std::max<int64_t>(1, kGrain / (s.H * s.E)), [&](int64_t begin, int64_t end) HWY_ATTR {
    const VF sign = hn::Set(F(), s.inverse ? -1.0f : 1.0f);
    for (int64_t token = begin; token < end; ++token) {
      for (int64_t row = token * s.H; row < (token + 1) * s.H; ++row) {
        rotate_row<kPairs>(s.E / 2, x + row * s.E, table[token % s.L], sign, y + row * s.E);
      }
    }
  });
}

template <class T>
void rotate_any(const RopeShape& s, const void* x, const float* const* table, void* y) {
  (s.pairs ? rotate<true, T> : rotate<false, T>)(s, static_cast<const T*>(x), table, static_cast<T*>(y));
}

void RopeRotate(const RopeShape& s, const void* x, const float* const* table, void* y) {
  (s.element == Element::kBf16 ? rotate_any<uint16_t> : rotate_any<float>)(s, x, table, y);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(RopeRotate);

void rope_rotate(const RopeShape& shape, const void* x, const float* const* table, void* y) {
  HWY_DYNAMIC_DISPATCH(RopeRotate)(shape, x, table, y);
}

}  // namespace lt2
#endif
