#pragma once
// What a model does with one number per channel: scales, biases, gated residuals.
//
//   y[r, i] = base[r, i] + weight[i] x[r, i] + bias[i]
//
// Its gradients of weight and bias are sums over all rows, in an order that depends on the number of rows only; torch's
// own order depends on the number of threads. Source: ours; the judge is torch's broadcast product and sum.
//
// Cost: a number of x takes up to 3 flops forward, 4 backward; x, base and y move forward, dy, x and dx backward: 12
// bytes in fp32, 6 in bf16. repeat_for_heads is a view; its gradient: copies - 1 flops, 3 copies - 1 numbers moved.
// Error, of the largest absolute value of the fp64 reference tensor: fp32 1e-6, gradients 3e-6; bf16 y is that of fp32
// rounded once, bf16 gradients 3e-2 (of 0.1 where that is more). repeat_for_heads has none, gradients 5e-5 and 3e-2.
#include "base/torch.h"

namespace lt2 {

struct PerChannelInput {
  torch::Tensor x;            // [.., N] fp32 or bf16
  torch::Tensor weight = {};  // any shape of H numbers, H divides N: channel i has number i / (N / H). Undefined: ones
  torch::Tensor bias = {};    // [N]. Undefined: none
  torch::Tensor base = {};    // the shape of x, cast to the type of y. Undefined: none
};

/// y has the shape of x and the type `out`: arithmetic in fp32 (fp64 for an fp64 x), rounded once. Differentiable.
/// Throws lt2::Error if shapes disagree.
torch::Tensor per_channel(const PerChannelInput& in, torch::ScalarType out);

/// Plain torch, any type and device, differentiable.
torch::Tensor per_channel_reference(const PerChannelInput& in, torch::ScalarType out);

/// x [B, L, N] -> [B, L, copies, N], the same numbers for each copy. The gradient adds the copies in ascending order.
torch::Tensor repeat_for_heads(const torch::Tensor& x, int64_t copies);

}  // namespace lt2
