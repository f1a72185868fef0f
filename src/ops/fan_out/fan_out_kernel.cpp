#include "base/threads.h"
#include "ops/fan_out/kernel.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/fan_out/fan_out_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// About ten microseconds of work.
constexpr int64_t kGrain = 32768;

template <class T>
void sum_typed(const void* const* arrays, int64_t count, void* y, int64_t n) {
  T* const sum = static_cast<T*>(y);
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) HWY_ATTR {
    for_each_vector(end - begin, [&](int64_t offset, auto part) HWY_ATTR {
      const int64_t i = begin + offset;
      VF total = load(static_cast<const T*>(arrays[0]) + i, part);
      for (int64_t a = 1; a < count; ++a) total = hn::Add(total, load(static_cast<const T*>(arrays[a]) + i, part));
      store(total, sum + i, part);
    });
  });
}

void SumArrays(Element element, const void* const* arrays, int64_t count, void* y, int64_t n) {
  element == Element::kBf16 ? sum_typed<uint16_t>(arrays, count, y, n) : sum_typed<float>(arrays, count, y, n);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(SumArrays);

void sum_arrays(Element element, const void* const* arrays, int64_t count, void* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(SumArrays)(element, arrays, count, y, n);
}

}  // namespace lt2
#endif
