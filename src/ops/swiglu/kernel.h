#pragma once
// y = act(a) b, elementwise, with act = silu or sigmoid. Raw pointers to fp32, or to bf16 where `bf16` is set.
#include <cstdint>

namespace lt2 {

enum class GateActivation { kSilu, kSigmoid };

void gated_product_forward(GateActivation act, bool bf16, const void* a, const void* b, void* y, int64_t n);
void gated_product_backward(GateActivation act, bool bf16, const void* a, const void* b, const void* dy, void* da,
                            void* db, int64_t n);

}  // namespace lt2
