#pragma once
// The gates of the linear mixers, from projections to what the recurrence reads. Elementwise; exponentials in fp32
// whatever the projections' type.
//
//   log decay        g = -exp(A_log) softplus(x + dt_bias) <= 0     gdn, kda
//                    g = log sigmoid(x + bias) / divisor   <= 0     gla, hgrn2
//   step size        delta = softplus(x + dt_bias)                  mamba2
//   write strength   beta = scale sigmoid(x)                        gdn, kda, deltanet
//   key              k = 1 - sigmoid(x)                             hgrn2
//   query            q = x sigmoid(x)                               hgrn2, and convolutions of unusual width
//
// Ops of their own because torch computes whole vectors and their rest by different formulas, so that an element's bits
// would depend on its place in the batch. Sources: arXiv 2412.06464 (gdn), 2510.26692 (kda), 2312.06635 (gla),
// 2404.07904 (hgrn2), 2405.21060 (mamba2), 2406.06484 (deltanet) and their reference layers.
//
// Cost: a number of x, z bytes, takes 5 (write strength) to 12 (log decay) operations forward, 7 to 20 backward; a
// division, an exponential or a logarithm is one. Forward moves z + 4 bytes, backward 2 z + 4 (key, query: 2 z, 3 z).
// Error: fp32 values 3e-6 of each element of the fp64 reference, fp32 gradients 1e-5 of the largest absolute value of
// theirs. From bf16 come the numbers that come from fp32, y and dx rounded once where they are bf16.
#include "base/torch.h"

namespace lt2 {

/// x [.., N] fp32 or bf16, A_log [H], dt_bias [N] fp32, N a multiple of H: channels N / H of a head share its A_log.
/// -> [.., N] fp32. Differentiable.
torch::Tensor log_decay(const torch::Tensor& x, const torch::Tensor& A_log, const torch::Tensor& dt_bias);
/// x [.., N] fp32 or bf16, bias [N] fp32 or undefined -> [.., N] fp32. Differentiable.
torch::Tensor log_sigmoid(const torch::Tensor& x, double divisor, const torch::Tensor& bias);
/// x [.., N] fp32 or bf16, dt_bias [N] fp32 -> [.., N] fp32. Differentiable.
torch::Tensor step_size(const torch::Tensor& x, const torch::Tensor& dt_bias);
/// x [..] fp32 or bf16 -> [..] fp32. Differentiable.
torch::Tensor write_strength(const torch::Tensor& x, double scale);
/// 1 - sigmoid(x) without its cancellation. x [..] -> same type. Differentiable.
torch::Tensor one_minus_sigmoid(const torch::Tensor& x);
/// x sigmoid(x). x [..] -> same type. Differentiable.
torch::Tensor swish(const torch::Tensor& x);

/// Plain torch, any type and device, differentiable.
torch::Tensor log_decay_reference(const torch::Tensor& x, const torch::Tensor& A_log, const torch::Tensor& dt_bias);
torch::Tensor log_sigmoid_reference(const torch::Tensor& x, double divisor, const torch::Tensor& bias);
torch::Tensor step_size_reference(const torch::Tensor& x, const torch::Tensor& dt_bias);
torch::Tensor write_strength_reference(const torch::Tensor& x, double scale);
torch::Tensor one_minus_sigmoid_reference(const torch::Tensor& x);
torch::Tensor swish_reference(const torch::Tensor& x);

}  // namespace lt2
