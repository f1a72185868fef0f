#include "ops/simd/isa.h"

#include <cstdlib>

#include "base/error.h"
#include "ops/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/simd/isa.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

// Asked through the same dispatch as the kernels, so it cannot disagree with them.
const char* isa_name() {
  if (HWY_TARGET == HWY_AVX3) return "AVX-512";
  return HWY_TARGET == HWY_AVX2 ? "AVX2" : "scalar";
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(isa_name);

std::string kernel_isa() { return HWY_DYNAMIC_DISPATCH(isa_name)(); }

void apply_isa_override() {
  const char* value = std::getenv("LT2_ISA");
  const std::string isa = value ? value : "";
  constexpr auto kAvx512 = HWY_AVX3 | HWY_AVX3_DL;
  if (isa.empty()) {
    hwy::DisableTargets(0);
  } else if (isa == "avx2") {
    hwy::DisableTargets(kAvx512);
  } else if (isa == "scalar") {
    hwy::DisableTargets(kAvx512 | HWY_AVX2 | HWY_SSE4 | HWY_SSSE3);
  } else {
    fail("environment variable LT2_ISA: expected avx2 or scalar, found \"{}\". Unset it to use the best", isa);
  }
}

}  // namespace lt2
#endif
