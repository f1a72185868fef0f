#pragma once
// Kernels of selected_attention for the CPU, without torch: raw pointers, strides in elements, channels contiguous.
#include "ops/causal_attention/kernel.h"

namespace lt2 {

struct SelectedShape {
  int64_t B, L, S, H, Hk, E, Ev;
  int64_t N;              // list entries of a query and key head
  int64_t block_size;     // keys of a block
  int64_t first_query;    // index of query 0's own key
  const int32_t* blocks;  // [B, L, Hk, N], valid: ascending, then -1
  float scale;
  Element element;  // of q, k, v, o and their gradients
};

/// lse2 [B, H, L], null if not wanted: as causal_attention_forward gives it; undefined for a row without keys.
void selected_attention_forward(const SelectedShape& shape, AttentionInputView q, AttentionInputView k,
                                AttentionInputView v, AttentionOutputView o, float* lse2);

/// Every element of the gradients is written.
void selected_attention_backward(const SelectedShape& shape, AttentionInputView q, AttentionInputView k,
                                 AttentionInputView v, AttentionInputView o, const float* lse2,
                                 AttentionInputView grad_o, const AttentionGradients& grad);

}  // namespace lt2
