#pragma once
// Which keys each query attends to under DeepSeek sparse attention: the `count` causal positions of largest score.
//
//   score[t, s] = sum_j weights[t, j] relu(q[t, j] . k[s])      with weights (lightning indexer)
//   score[t, s] = (mean_j q[t, j]) . k[s]                       without
//
// Scores are fp32 and live for a few queries at a time: L x S is never stored. A score is one chain of fused
// multiply-adds over the channels (and one over the heads), so the choice depends neither on the batch nor on how a
// prefill was split. Sources: DeepSeek-V3.2, arXiv 2512.02556, equations 1 and 2; without weights its reference layer.
//
// Cost: P = B (L S - L (L - 1) / 2) pairs of a query and a key up to it take (2 F + 3) P J flops with weights, else
// 2 P F + B L J F; queries that take all their keys need none. With z bytes a number of q, z B (L J + S) F +
// 4 B L min(count, S) bytes move; every 32 queries read the keys again, and 4 P bytes of scores pass a few times.
// Error: on the tests' inputs fp32 and bf16 choose every index of the fp64 reference; only scores that lie closer than
// fp32 rounds may change places. There is no backward.
#include "base/torch.h"

namespace lt2 {

struct IndexTopkInput {
  torch::Tensor q;        // [B, L, J, F]  queries of positions S - L .. S - 1
  torch::Tensor k;        // [B, S, F]     one key for all heads, earlier calls' first
  torch::Tensor weights;  // [B, L, J] fp32; undefined: mean of the heads
  int64_t count = 1;      // >= 1
};

/// [B, L, min(count, S)] int32: min(count, t + 1) positions ascending, then -1. Equal scores go to the smaller
/// position. Carries no gradient. CPU: own kernel; elsewhere and in fp64: plain torch by blocks of queries. Throws
/// lt2::Error if shapes disagree.
torch::Tensor index_topk(const IndexTopkInput& in);
/// Plain torch with all scores at once: the judge.
torch::Tensor index_topk_reference(const IndexTopkInput& in);

/// Scores [B, end - begin, keys] of queries begin .. end - 1 for the first `keys` keys, future ones included; at least
/// fp32. Plain torch, differentiable.
torch::Tensor index_scores(const IndexTopkInput& in, int64_t begin, int64_t end, int64_t keys);

}  // namespace lt2
