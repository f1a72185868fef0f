#pragma once
// RMS normalisation over the last axis: y = x (mean(x^2) + eps)^-1/2 w, and two relatives.
#include "base/torch.h"

namespace lt2 {

/// x [.., D] fp32 or bf16, weight [D] fp32 -> [.., D] of type `out` (rounded once). Arithmetic in fp32. Differentiable.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps, torch::ScalarType out);

/// Norm, then gate: RMS(x; weight) * silu(gate), groups of the last axis of x. x, gate [.., D], weight [D] -> dtype of
/// x. gate may have any leading shape with as many elements in the same order. Differentiable. (gdn, retnet, gla)
torch::Tensor rms_norm_silu_gate(const torch::Tensor& x, const torch::Tensor& gate, const torch::Tensor& weight,
                                 double eps);

/// x / sqrt(sum(x^2) + 1e-6) over the last axis; dtype of x. Differentiable. (queries and keys of the delta mixers)
torch::Tensor l2_norm(const torch::Tensor& x);

/// Plain torch, any type and device, differentiable.
torch::Tensor rms_norm_reference(const torch::Tensor& x, const torch::Tensor& weight, double eps,
                                 torch::ScalarType out);
torch::Tensor rms_norm_silu_gate_reference(const torch::Tensor& x, const torch::Tensor& gate,
                                           const torch::Tensor& weight, double eps);
torch::Tensor l2_norm_reference(const torch::Tensor& x);

}  // namespace lt2
