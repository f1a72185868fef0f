#pragma once
// Output projection and cross entropy in one: the mean over all rows of -log softmax(h W^T)[target], a block of rows
// at a time, so that [rows, vocab] never exists for the whole batch. Gradients are formed in the same pass (they are
// known up to the upstream factor), so backward costs a scaling. Log-softmax and sums in fp32.
#include "base/torch.h"

namespace lt2 {

/// h [.., D] fp32 or bf16 (the products run in that type), weight [V, D] fp32, targets int64 [..] -> scalar fp32.
/// Differentiable in h and weight. Throws lt2::Error for a target outside [0, V).
torch::Tensor linear_cross_entropy(const torch::Tensor& h, const torch::Tensor& weight, const torch::Tensor& targets);
/// Plain torch, any type and device, differentiable; materialises the logits.
torch::Tensor linear_cross_entropy_reference(const torch::Tensor& h, const torch::Tensor& weight,
                                             const torch::Tensor& targets);

}  // namespace lt2
