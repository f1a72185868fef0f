#pragma once
// Depthwise causal convolution of width W (4) with optional SiLU:
//   c[t] = sum_j w[j] x[t - W + 1 + j] (+ bias),   y = silu(c) or c
// Tokens before the first come from `tail`, the last W - 1 inputs of an earlier call, or count as zero.
// Source: ShortConvolution of flash-linear-attention.
//
// Cost: a number of x, z bytes, takes 2 W + 4 operations forward (2 W without SiLU) and 6 W + 8 backward (4 W); an
// exponential or a division is one. Forward moves 2 z bytes, backward 3 z; widths other than 4 move them once a tap.
// Error, of the largest absolute value of the fp64 reference tensor: fp32 1e-6, gradients 1e-5; bf16 5e-3, gradients
// 5e-3.
#include "base/torch.h"

namespace lt2 {

struct ShortConvInput {
  torch::Tensor x;       // [B, L, channels] fp32 or bf16
  torch::Tensor weight;  // [channels, 1, W] fp32; weight[.., W-1] meets the current token
  torch::Tensor bias;    // [channels] fp32 or undefined
  torch::Tensor tail;    // [B, W - 1, channels], oldest first, dtype of x; undefined means zeros
  bool silu = true;
};

/// y [B, L, channels], dtype of x; sums in fp32. Differentiable in x, weight and bias (not through `tail`).
torch::Tensor short_conv(const ShortConvInput& in);
/// The tail to hand to the next call: the last W - 1 of (tail, x). [B, W - 1, channels], a copy.
torch::Tensor short_conv_next_tail(const ShortConvInput& in);
/// Plain torch, any type and device, differentiable.
torch::Tensor short_conv_reference(const ShortConvInput& in);

}  // namespace lt2
