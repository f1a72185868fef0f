#pragma once
// Kernels of block_selection for the CPU, without torch: raw pointers, strides in elements, the last axis contiguous.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

/// Element (b, i, h, e) is at data[b * batch + i * row + h * head + e]; i is a token or a block.
template <typename Pointer>
struct BlockView {
  Pointer data;
  int64_t batch, row, head;
};

/// Tokens x [B, L, Hk, E] of positions position, position + 1, .. join the sum of the open block, sum [B, Hk, E]
/// contiguous; means: row j receives the mean of block j when that block is completed.
struct BlockMeansShape {
  int64_t B, L, Hk, E, position, block_size;
  Element element;  // of x
};
void block_means_extend(const BlockMeansShape& shape, BlockView<const void*> x, float* sum, BlockView<float*> means);

struct BlockSelectionShape {
  int64_t B, L, N, H, Hk, E, Ev;
  int64_t first_position;  // of query 0
  int64_t block_size, count;
  float scale;
  Element element;  // of q, o and their gradients; means are fp32
};

/// o [B, L, H, Ev]; blocks [B, L, Hk, count]; lse [B, H, L], null if not wanted: log of the sum over visible blocks of
/// e^(q . k_mean * scale), which is what the backward pass needs to recompute the probabilities.
void block_selection_forward(const BlockSelectionShape& shape, BlockView<const void*> q, BlockView<const float*> k_mean,
                             BlockView<const float*> v_mean, BlockView<void*> o, int32_t* blocks, float* lse);

/// Every element of the gradients is written: grad_q [B, L, H, E] in the type of q, grad_k [B, N, Hk, E] and grad_v
/// [B, N, Hk, Ev] fp32 contiguous.
void block_selection_backward(const BlockSelectionShape& shape, BlockView<const void*> q,
                              BlockView<const float*> k_mean, BlockView<const float*> v_mean, BlockView<const void*> o,
                              const float* lse, BlockView<const void*> grad_o, BlockView<void*> grad_q, float* grad_k,
                              float* grad_v);

}  // namespace lt2
