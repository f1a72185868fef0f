#pragma once
// Output projection and cross entropy in one: the mean over all rows of -log softmax(h W^T)[target], a block of rows
// at a time, so that [rows, vocab] never exists for the whole batch. Gradients are formed in the same pass (they are
// known up to the upstream factor), so backward costs a scaling. Log-softmax in fp32; the rows' losses add up in fp64.
// Sources: lingua's cross_entropy; arXiv 2410.10989, FusedLinearCrossEntropy (blocks of rows, gradients at once).
//
// Cost: R rows take 2 R V D flops and R V exponentials, with both gradients 6 R V D flops; backward takes (R + V) D.
// A block of 256 to 1024 rows moves its logits a few times and z V D bytes of the weight (z bytes a number of h), with
// gradients about (z + 12) V D. Error, of the largest absolute value of the fp64 reference tensor (for bf16 with the
// weight rounded): loss 2e-6 from fp32 and from bf16; gradients 1e-5 from fp32, 1e-2 from bf16.
#include "base/torch.h"

namespace lt2 {

/// h [.., D] fp32 or bf16 (the products run in that type), weight [V, D] fp32, targets int64 [..] -> scalar fp32.
/// Differentiable in h and weight. Throws lt2::Error for a target outside [0, V).
torch::Tensor linear_cross_entropy(const torch::Tensor& h, const torch::Tensor& weight, const torch::Tensor& targets);
/// Plain torch, any type and device, differentiable; materialises the logits.
torch::Tensor linear_cross_entropy_reference(const torch::Tensor& h, const torch::Tensor& weight,
                                             const torch::Tensor& targets);

}  // namespace lt2
