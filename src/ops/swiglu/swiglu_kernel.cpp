#include "base/threads.h"
#include "ops/simd/targets.h"
#include "ops/swiglu/kernel.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/swiglu/swiglu_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// About ten microseconds of work.
constexpr int64_t kGrain = 32768;

template <GateActivation kAct, class T>
void forward_typed(const T* a, const T* b, T* y, int64_t n) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) HWY_ATTR {
    for_each_vector(end - begin, [&](int64_t offset, auto part) HWY_ATTR {
      const int64_t i = begin + offset;
      const VF x = load(a + i, part), s = sigmoid(x);
      const VF act = kAct == GateActivation::kSilu ? hn::Mul(x, s) : s;
      store(hn::Mul(act, load(b + i, part)), y + i, part);
    });
  });
}

template <GateActivation kAct, class T>
void backward_typed(const T* a, const T* b, const T* dy, T* da, T* db, int64_t n) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) HWY_ATTR {
    const VF one = hn::Set(F(), 1.0f);
    for_each_vector(end - begin, [&](int64_t offset, auto part) HWY_ATTR {
      const int64_t i = begin + offset;
      const VF x = load(a + i, part), s = sigmoid(x), g = load(dy + i, part);
      const VF rest = hn::Sub(one, s);
      const bool silu = kAct == GateActivation::kSilu;
      const VF act = silu ? hn::Mul(x, s) : s;
      // silu' = s (1 + x (1 - s)),  sigmoid' = s (1 - s)
      const VF slope = hn::Mul(s, silu ? hn::MulAdd(x, rest, one) : rest);
      store(hn::Mul(g, act), db + i, part);
      store(hn::Mul(hn::Mul(g, load(b + i, part)), slope), da + i, part);
    });
  });
}

template <class T>
void forward_any(GateActivation act, const void* a, const void* b, void* y, int64_t n) {
  const auto run = act == GateActivation::kSilu ? forward_typed<GateActivation::kSilu, T>
                                                : forward_typed<GateActivation::kSigmoid, T>;
  run(static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(y), n);
}

template <class T>
void backward_any(GateActivation act, const void* a, const void* b, const void* dy, void* da, void* db, int64_t n) {
  const auto run = act == GateActivation::kSilu ? backward_typed<GateActivation::kSilu, T>
                                                : backward_typed<GateActivation::kSigmoid, T>;
  run(static_cast<const T*>(a), static_cast<const T*>(b), static_cast<const T*>(dy), static_cast<T*>(da),
      static_cast<T*>(db), n);
}

void GatedForward(GateActivation act, Element element, const void* a, const void* b, void* y, int64_t n) {
  element == Element::kBf16 ? forward_any<uint16_t>(act, a, b, y, n) : forward_any<float>(act, a, b, y, n);
}

void GatedBackward(GateActivation act, Element element, const void* a, const void* b, const void* dy, void* da,
                   void* db, int64_t n) {
  element == Element::kBf16 ? backward_any<uint16_t>(act, a, b, dy, da, db, n)
                            : backward_any<float>(act, a, b, dy, da, db, n);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(GatedForward);
HWY_EXPORT(GatedBackward);

void gated_product_forward(GateActivation act, Element element, const void* a, const void* b, void* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(GatedForward)(act, element, a, b, y, n);
}

void gated_product_backward(GateActivation act, Element element, const void* a, const void* b, const void* dy, void* da,
                            void* db, int64_t n) {
  HWY_DYNAMIC_DISPATCH(GatedBackward)(act, element, a, b, dy, da, db, n);
}

}  // namespace lt2
#endif
