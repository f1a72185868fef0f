#pragma once
// The compression branch of native sparse attention, and the choice of blocks that falls out of it.
//
//   k_mean, v_mean  means of the keys and values of complete blocks of block_size tokens
//   p[t, j] = softmax over visible j of (q[t] . k_mean[j] * scale),   o[t] = sum_j p[t, j] v_mean[j]
//   visible: block j ends at or before t; a query that sees none has o = 0
//   importance[t, hk, j] = mean of p[t, j] over the query heads of key head hk
//
// Chosen per query and key head: of the forced blocks 0, own - 1, own (own = t / block_size) and the visible ones the
// first `count` by: forced, then larger importance, then smaller index (with fewer than three places the forced ones
// compete). L x N is never stored: scores live for a few queries at a time. A row's result depends neither on the batch
// nor on the threads nor on how a prefill was split. Source: arXiv 2502.11089, section 3.3.
//
// Cost: P pairs of a query and a block it sees (from position 0 about B L^2 / (2 block_size)) take 2 P H (E + Ev) flops
// forward, 2 P H (3 E + 2 Ev) backward, each with P H exponentials. With z bytes a number of q, forward moves
// (z B L H + 4 B N Hk) (E + Ev) + 4 B L Hk count' bytes, backward twice the first term. Means add each number once.
// Error, of the largest absolute value of the fp64 reference tensor: fp32 2e-6, gradients 1e-5; bf16 2e-2, gradients
// 3e-2 (of 0.1 where that is more); means 1e-6 from both. On the tests' inputs all choose the reference's blocks.
#include "base/torch.h"

namespace lt2 {

/// x [B, L, Hk, E] fp32 or bf16 -> means of the complete blocks [B, L / block_size, Hk, E] fp32. Differentiable. Sums
/// run over ascending positions, so that continuing an open block gives the same bits.
torch::Tensor block_means(const torch::Tensor& x, int64_t block_size);

/// The same for a sequence that comes in pieces. x [B, L, Hk, E] are the tokens from `position` on; sum [B, Hk, E] fp32
/// contiguous belongs to the open block and is updated; means [B, >= (position + L) / block_size, Hk, E] fp32: rows of
/// the blocks completed here are written. No gradient.
void extend_block_means(const torch::Tensor& x, int64_t position, int64_t block_size, const torch::Tensor& sum,
                        const torch::Tensor& means);

struct BlockSelectionInput {
  torch::Tensor q;             // [B, L, H, E]   fp32 or bf16
  torch::Tensor k_mean;        // [B, N, Hk, E]  fp32, N >= complete blocks at the last query
  torch::Tensor v_mean;        // [B, N, Hk, Ev] fp32
  int64_t first_position = 0;  // of query 0
  int64_t block_size = 1;
  int64_t count = 1;  // blocks chosen per query
  double scale = 1.0;
};

struct BlockSelection {
  torch::Tensor o;  // [B, L, H, Ev]       type of q; differentiable in q, k_mean and v_mean
  torch::Tensor
      blocks;  // [B, L, Hk, count']  int32, ascending, then -1; count' = min(count, own block of the last + 1)
};

/// CPU: own kernel; elsewhere and in fp64: plain torch by blocks of queries. Throws lt2::Error if shapes disagree.
BlockSelection block_selection(const BlockSelectionInput& in);
/// Materialised mask and softmax in plain torch: the judge. Differentiable.
BlockSelection block_selection_reference(const BlockSelectionInput& in);
torch::Tensor block_means_reference(const torch::Tensor& x, int64_t block_size);

}  // namespace lt2
