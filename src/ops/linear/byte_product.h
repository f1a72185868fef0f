#pragma once
// Products of x in bf16 with int8 and int4 weights on the processor's unit for bytes (ops/simd/byte_unit.h). Knows no
// torch.
#include "ops/linear/kernel.h"
#include "ops/simd/byte_unit.h"

namespace lt2 {

/// linear_forward_many (kernel.h) for x in bf16 and weights that are all int8 or all int4. Every row's result depends
/// on that row and the weight alone, not on M, the other products or the unit. A number in x that is not finite makes
/// all of its row's results NaN.
void byte_product(const ByteUnit& unit, const LinearForward* products, int64_t count);

}  // namespace lt2
