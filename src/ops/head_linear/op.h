#pragma once
// A linear map of its own for every head, for a few rows: how latent attention moves queries into the latent space and
// latent sums out of it while decoding.
//
//   y[r, h, n] = sum_k x[r, h, k] weight[h, k, n]
//
// On the CPU every y is one chain of fp32 multiply-adds over ascending k, whatever the number of rows. Source:
// arXiv 2405.04434, section 2.1.2 (absorbed projections).
//
// Cost: 2 B L H K N flops and, with z bytes a number of x, z B L H (K + N) + 4 H K N bytes. Every 64 rows read the
// weight again, every 192 outputs read x again. There is no backward.
// Error, of the largest absolute value of the fp64 product: 1e-6 from fp32, 1e-2 from bf16.
#include "base/torch.h"

namespace lt2 {

/// x [B, L, H, K] fp32 or bf16 (other types and devices: plain torch), weight [H, K, N] fp32 -> [B, L, H, N] of the
/// type of x, rounded once. No gradient. Throws lt2::Error if shapes disagree.
torch::Tensor head_linear(const torch::Tensor& x, const torch::Tensor& weight);

}  // namespace lt2
