#pragma once
// Gated activations, elementwise and fused: one pass over memory forward, one backward.
#include "base/torch.h"

namespace lt2 {

/// silu(a) * b, both [..] of one type and shape. Differentiable.
torch::Tensor swiglu(const torch::Tensor& a, const torch::Tensor& b);
/// x * sigmoid(gate), both [..] of one type and shape. Differentiable. (attention output gate)
torch::Tensor sigmoid_gate(const torch::Tensor& x, const torch::Tensor& gate);
/// Plain torch, any type and device, differentiable.
torch::Tensor swiglu_reference(const torch::Tensor& a, const torch::Tensor& b);
torch::Tensor sigmoid_gate_reference(const torch::Tensor& x, const torch::Tensor& gate);

}  // namespace lt2
