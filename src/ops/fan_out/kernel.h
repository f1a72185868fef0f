#pragma once
// y = sum of `count` arrays of n numbers, in their order. Raw pointers to fp32, or to bf16 where `bf16` is set.
#include <cstdint>

namespace lt2 {

void sum_arrays(bool bf16, const void* const* arrays, int64_t count, void* y, int64_t n);

}  // namespace lt2
