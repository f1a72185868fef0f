// Rounds a weight to int8 or int4 and lays it out as kernel.h says. Output channels are lanes, so that every channel is
// worked on by itself, over ascending k.
#include "ops/linear/kernel.h"
#include "ops/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/quantise_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/io-inl.h"

// clang-format off: the order above is Highway's
#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/threads.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

using I32 = hn::RebindToSigned<F>;
using VI32 = hn::Vec<I32>;

// Scales of an int4 group that are tried, in units of that which makes its largest number -8. With 8 / 7 it becomes
// -7, and one as large of the other sign 7: beyond, nothing is gained. Below 0.7 too much is cut off. No scale of the
// other sign is tried.
constexpr float kTried[] = {1.f, 8.f / 7.f, 1.09f, 1.045f, 0.965f, 0.93f, 0.895f, 0.86f, 0.825f, 0.79f, 0.755f, 0.72f};
// Weights below are zero: their scale has no reciprocal.
constexpr float kLeast = 1e-36f;

int64_t lanes() { return static_cast<int64_t>(hn::Lanes(F())); }

HWY_INLINE VF round_bf16(VF v) { return hn::BitCast(F(), hn::ShiftLeft<16>(round_to_bf16_bits(v))); }

HWY_INLINE VF reciprocal(VF scale) {
  const F d;
  const auto usable = hn::Ge(hn::Abs(scale), hn::Set(d, kLeast));
  return hn::IfThenElseZero(usable, hn::Div(hn::Set(d, 1.f), hn::IfThenElse(usable, scale, hn::Set(d, 1.f))));
}

HWY_INLINE VI32 rounded(VF w, VF inverse, float least, float most) {
  const F d;
  return hn::NearestInt(hn::Min(hn::Max(hn::Mul(w, inverse), hn::Set(d, least)), hn::Set(d, most)));
}

// to [words][kQuantWidth] = the numbers of a vector of channels, w [depth][kQuantWidth]; beyond the depth they are
// zero.
HWY_INLINE void pack_words(Element element, const float* w, int64_t depth, VF inverse, uint32_t* to) {
  const int64_t pack = quant_pack(element);
  const float least = element == Element::kInt8 ? -127 : -8, most = element == Element::kInt8 ? 127 : 7;
  const VI32 offset = hn::Set(I32(), element == Element::kInt8 ? 128 : 8);
  for (int64_t k = 0; k < depth; k += pack, to += kQuantWidth) {
    VI32 word = hn::Zero(I32());
    for (int64_t j = 0; j < pack; ++j) {
      const VI32 q =
          k + j < depth ? rounded(hn::LoadU(F(), w + (k + j) * kQuantWidth), inverse, least, most) : hn::Zero(I32());
      word = hn::Or(word, hn::ShiftLeftSame(hn::Add(q, offset), quant_bit(element, static_cast<int>(j))));
    }
    hn::StoreU(word, I32(), reinterpret_cast<int32_t*>(to));
  }
}

// Channels n0 .. n0 + channels of the weight, k0 .. k0 + depth, as [depth][kQuantWidth]; missing channels are zero.
struct Block {
  HWY_ALIGN float numbers[kQuantGroup * kQuantWidth];
};
template <typename T>
void load_block(const Matrix& weight, int64_t n0, int64_t channels, int64_t k0, int64_t depth, Block* block) {
  HWY_ALIGN float rows[kQuantGroup * kQuantWidth] = {};
  const T* from = static_cast<const T*>(weight.data) + n0 * weight.ld + k0;
  for (int64_t i = 0; i < channels; ++i) {
    for_each_vector(depth, [&](int64_t k, auto part) HWY_ATTR {
      store(load(from + i * weight.ld + k, part), rows + i * kQuantGroup + k, part);
    });
  }
  transpose(kQuantWidth, depth, rows, kQuantGroup, block->numbers, kQuantWidth);
}
void load_block(const Matrix& weight, int64_t n0, int64_t channels, int64_t k0, int64_t depth, Block* block) {
  weight.element == Element::kF32 ? load_block<float>(weight, n0, channels, k0, depth, block)
                                  : load_block<uint16_t>(weight, n0, channels, k0, depth, block);
}

// Notes in `odd` (zero before) which lanes hold numbers that are not finite: it is not zero, or not a number, then.
HWY_INLINE VF look(VF odd, VF w) { return hn::Add(odd, hn::Sub(w, w)); }

struct Int4 {
  VF scale, error;
};

// The rounding error, summed over the group, with this scale.
HWY_INLINE Int4 try_scale(const float* w, int64_t depth, VF scale) {
  const VF inverse = reciprocal(scale);
  VF error = hn::Zero(F());
  for (int64_t k = 0; k < depth; ++k) {
    const VF v = hn::LoadU(F(), w + k * kQuantWidth);
    const VF left = hn::Sub(v, hn::Mul(hn::ConvertTo(F(), rounded(v, inverse, -8, 7)), scale));
    error = hn::Add(error, hn::Mul(left, left));
  }
  return {scale, error};
}

HWY_INLINE Int4 better(Int4 a, Int4 b) {
  const auto second = hn::Lt(b.error, a.error);
  return {hn::IfThenElse(second, b.scale, a.scale), hn::IfThenElse(second, b.error, a.error)};
}

// A vector of channels of one group: w is [depth][kQuantWidth], to [words][kQuantWidth].
HWY_INLINE VF int4_group(const float* w, int64_t depth, uint32_t* to, uint16_t* scale_to) {
  const F d;
  VF largest = hn::Zero(d), odd = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k) {
    const VF v = hn::LoadU(d, w + k * kQuantWidth);
    odd = look(odd, v);
    largest = hn::IfThenElse(hn::Gt(hn::Abs(v), hn::Abs(largest)), v, largest);
  }
  const VF unit = hn::Mul(largest, hn::Set(d, -1.f / 8));
  Int4 best = try_scale(w, depth, round_bf16(unit));
  for (const float tried : kTried) {
    best = better(best, try_scale(w, depth, round_bf16(hn::Mul(unit, hn::Set(d, tried)))));
  }
  // The numbers now chosen have a best scale of their own.
  VF inverse = reciprocal(best.scale);
  VF product = hn::Zero(d), square = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k) {
    const VF v = hn::LoadU(d, w + k * kQuantWidth), q = hn::ConvertTo(d, rounded(v, inverse, -8, 7));
    product = hn::Add(product, hn::Mul(v, q));
    square = hn::Add(square, hn::Mul(q, q));
  }
  best = better(best, try_scale(w, depth, round_bf16(hn::Div(product, hn::Max(square, hn::Set(d, 1.f))))));

  inverse = reciprocal(best.scale);
  store(hn::IfThenZeroElse(hn::Eq(inverse, hn::Zero(d)), best.scale), scale_to, Whole());
  pack_words(Element::kInt4, w, depth, inverse, to);
  return odd;
}

struct Task {
  Matrix weight;
  int64_t N, K, panel;

  int64_t channels() const { return std::min(kQuantWidth, N - panel * kQuantWidth); }
  void load(int64_t k, Block* block) const {
    load_block(weight, panel * kQuantWidth, channels(), k, std::min(kQuantGroup, K - k), block);
  }
};

// Both leave in odd [kQuantWidth] what look() makes of every channel.
void quantise_int4(const Task& t, uint32_t* to, uint16_t* scales, float* odd) {
  Block block;
  for (int64_t k = 0; k < t.K; k += kQuantGroup) {
    t.load(k, &block);
    for (int64_t i = 0; i < kQuantWidth; i += lanes()) {
      const VF found =
          int4_group(block.numbers + i, std::min(kQuantGroup, t.K - k),
                     to + k / quant_pack(Element::kInt4) * kQuantWidth + i, scales + k / kQuantGroup * kQuantWidth + i);
      hn::StoreU(hn::Add(hn::LoadU(F(), odd + i), found), F(), odd + i);
    }
  }
}

void quantise_int8(const Task& t, uint32_t* to, float* scales, float* odd) {
  const F d;
  Block block;
  HWY_ALIGN float largest[kQuantWidth] = {};
  for (int64_t k0 = 0; k0 < t.K; k0 += kQuantGroup) {
    t.load(k0, &block);
    for (int64_t k = 0; k < std::min(kQuantGroup, t.K - k0); ++k) {
      for (int64_t i = 0; i < kQuantWidth; i += lanes()) {
        const VF v = hn::LoadU(d, block.numbers + k * kQuantWidth + i);
        hn::StoreU(look(hn::LoadU(d, odd + i), v), d, odd + i);
        hn::StoreU(hn::Max(hn::LoadU(d, largest + i), hn::Abs(v)), d, largest + i);
      }
    }
  }
  for (int64_t i = 0; i < kQuantWidth; i += lanes()) {
    const VF scale = hn::Mul(hn::LoadU(d, largest + i), hn::Set(d, 1.f / 127));
    hn::StoreU(hn::IfThenElseZero(hn::Ge(scale, hn::Set(d, kLeast)), scale), d, scales + i);
  }
  for (int64_t k0 = 0; k0 < t.K; k0 += kQuantGroup) {
    t.load(k0, &block);
    for (int64_t i = 0; i < kQuantWidth; i += lanes()) {
      pack_words(Element::kInt8, block.numbers + i, std::min(kQuantGroup, t.K - k0),
                 reciprocal(hn::LoadU(d, scales + i)), to + k0 / quant_pack(Element::kInt8) * kQuantWidth + i);
    }
  }
}

}  // namespace

int64_t linear_quantise_simd(const Matrix& weight, int64_t N, int64_t K, Element element, void* panels, void* scales) {
  std::atomic<int64_t> first_odd{N};
  const int64_t words = quant_words(element, K), groups = (K + kQuantGroup - 1) / kQuantGroup;
  parallel_for((N + kQuantWidth - 1) / kQuantWidth, 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t p = begin; p < end; ++p) {
      const Task task{weight, N, K, p};
      HWY_ALIGN float odd[kQuantWidth] = {};
      auto* to = static_cast<uint32_t*>(panels) + p * words * kQuantWidth;
      if (element == Element::kInt8) {
        quantise_int8(task, to, static_cast<float*>(scales) + p * kQuantWidth, odd);
      } else {
        quantise_int4(task, to, static_cast<uint16_t*>(scales) + p * groups * kQuantWidth, odd);
      }
      for (int64_t i = 0; i < task.channels(); ++i) {
        if (odd[i] == 0) continue;
        const int64_t n = p * kQuantWidth + i;
        for (int64_t known = first_odd; n < known && !first_odd.compare_exchange_weak(known, n);) {
        }
      }
    }
  });
  return first_odd == N ? -1 : first_odd.load();
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(linear_quantise_simd);

int64_t linear_quantise(const Matrix& weight, int64_t N, int64_t K, Element element, void* panels, void* scales) {
  return HWY_DYNAMIC_DISPATCH(linear_quantise_simd)(weight, N, K, element, panels, scales);
}

}  // namespace lt2
#endif
