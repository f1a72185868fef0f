#pragma once
// causal_attention in plain torch for what the kernels do not cover (other devices, fp64).
#include "ops/causal_attention/op.h"

namespace lt2 {

/// 256 queries at a time, forward and backward (which recomputes the probabilities), so that memory grows with S
/// instead of L S; fp32 inside for 16-bit types. Differentiable once.
torch::Tensor causal_attention_by_query_block(const CausalAttentionInput& in);

}  // namespace lt2
