#pragma once
// selected_attention in plain torch for what the kernels do not cover (other devices, fp64).
#include "ops/selected_attention/op.h"

namespace lt2 {

/// A few queries at a time, forward and backward (which recomputes the probabilities); fp32 inside for 16-bit types.
/// Differentiable once. On CUDA the gradients of k and v are sums in no fixed order.
torch::Tensor selected_attention_by_query_block(const SelectedAttentionInput& in);

/// selected_attention_mean_probabilities of checked input.
torch::Tensor selected_attention_mean_probabilities_by_query_block(const SelectedAttentionInput& in);

}  // namespace lt2
