#pragma once
// RMS normalisation over the last axis: y = x (mean(x^2) + eps)^-1/2 w, and two relatives. Sources: arXiv 1910.07467,
// equation 4; lingua's RMSNorm; FusedRMSNormSwishGate and l2norm of flash-linear-attention.
//
// Cost: a number of x, z bytes, takes 4 operations forward (9 with a gate) and 11 backward (22); an exponential or a
// division is one. Forward moves 2 z bytes (3 z), backward 3 z (5 z), where y has the type of x.
// Error, of the largest absolute value of the fp64 reference tensor: fp32 1e-6 (gated 2e-6), gradients 2e-5 (1e-2
// where x is one number); bf16 5e-3, gradients 5e-3 (from D = 2 on).
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
