#pragma once
// The loss that trains DSA's lightning indexer: how far the softmax of its scores lies from the main attention.
//
//   KL_t = sum over s in T_t of a[t, s] (log a[t, s] - log softmax over T_t of score[t, .][s]),   0 log 0 = 0
//   loss = mean of KL_t over the B L queries
//
// a is the mean over heads of the main attention's probabilities. T_t: the selected keys (sparse stage) or all s <= t
// (dense stage, a recomputed here). Scores as in ops/index_topk. Gradients are formed in the forward pass, a block of
// queries at a time, so that L x L is never stored. Source: DeepSeek-V3.2, arXiv 2512.02556, section 2.1 (as a sum).
//
// Cost: P = B L^2 / 2 pairs of a query and a key up to it take 6 P J F flops, in the sparse stage too; the dense stage
// takes 2 P H E more. All of that is forward: backward scales B L (J F + F + J) numbers. Intermediates move about
// 60 P J bytes, in the dense stage 30 P H more, in pieces of about 4 MB.
// Error, of the largest absolute value of the fp64 reference tensor: fp32 1e-5, gradients 1e-4; bf16 2e-2, gradients
// 3e-2 (of 0.1 where that is more).
#include "ops/index_topk/op.h"

namespace lt2 {

struct IndexLossInput {
  IndexTopkInput index;  // q [B, L, J, F], k [B, L, F], weights [B, L, J]; the loss is differentiable in these three
  // Sparse stage: T_t as index_topk gives it, [B, L, N], and a at those places, [B, L, N] fp32.
  torch::Tensor indices = {}, probabilities = {};
  // Dense stage (indices undefined): the main attention's queries [B, L, H, E] and keys [B, L, E].
  torch::Tensor queries = {}, keys = {};
  double scale = 1.0;  // of the main attention's logits
};

/// Scalar, fp32 (fp64 for fp64 inputs). Plain torch by blocks of queries, in
/// an order that depends on the shapes only. Throws lt2::Error if shapes disagree.
torch::Tensor index_loss(const IndexLossInput& in);
/// All queries at once, left to autograd: the judge.
torch::Tensor index_loss_reference(const IndexLossInput& in);

}  // namespace lt2
