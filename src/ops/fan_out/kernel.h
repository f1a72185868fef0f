#pragma once
// y = sum of `count` arrays of n numbers, in their order. Pointers to fp32 or bf16, as `element` says.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

void sum_arrays(Element element, const void* const* arrays, int64_t count, void* y, int64_t n);

}  // namespace lt2
