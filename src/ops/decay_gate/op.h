#pragma once
// The gates of the delta mixers, from projections to what the recurrence reads. In fp32 whatever the projections' type.
//
//   log decay        g = -exp(A_log) softplus(x + dt_bias)     <= 0
//   write strength   beta = scale sigmoid(x)
//
// Ops of their own because torch computes whole vectors and their rest by different formulas, so that an element's bits
// would depend on its place in the batch. Source: arXiv 2412.06464 and its reference layer.
#include "base/torch.h"

namespace lt2 {

/// x [.., N] fp32 or bf16, A_log and dt_bias [N] fp32 -> [.., N] fp32. Differentiable.
torch::Tensor log_decay(const torch::Tensor& x, const torch::Tensor& A_log, const torch::Tensor& dt_bias);
/// x [..] fp32 or bf16 -> [..] fp32. Differentiable.
torch::Tensor write_strength(const torch::Tensor& x, double scale);

/// Plain torch, any type and device, differentiable.
torch::Tensor log_decay_reference(const torch::Tensor& x, const torch::Tensor& A_log, const torch::Tensor& dt_bias);
torch::Tensor write_strength_reference(const torch::Tensor& x, double scale);

}  // namespace lt2
