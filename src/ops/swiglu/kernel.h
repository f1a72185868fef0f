#pragma once
// y = act(a) b, elementwise, with act = silu or sigmoid. Pointers to fp32 or bf16, as `element` says.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

enum class GateActivation { kSilu, kSigmoid };

void gated_product_forward(GateActivation act, Element element, const void* a, const void* b, void* y, int64_t n);
void gated_product_backward(GateActivation act, Element element, const void* a, const void* b, const void* dy, void* da,
                            void* db, int64_t n);

}  // namespace lt2
