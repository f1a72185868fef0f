#pragma once
// Gated activations, elementwise and fused: one pass over memory forward, one backward. Sources: arXiv 2002.05202,
// equation 5 (SwiGLU); 2505.06708 (sigmoid gate).
//
// Cost: a number of y, z bytes, takes 5 operations forward and 11 backward (sigmoid_gate 4 and 8); an exponential or
// a division is one. Forward moves 3 z bytes, backward 5 z.
// Error, of the largest absolute value of the fp64 reference tensor: fp32 1e-6, gradients 2e-6; bf16 5e-3, gradients
// 5e-3.
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
