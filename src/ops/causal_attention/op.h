#pragma once
// Softmax attention over the visible keys by online softmax; L x L is never stored.
//
//   p[t, s] = softmax over visible s of (q[t] . k[s] * scale),   o[t] = sum_s p[t, s] v[s]
//   visible: s <= t, and with a window w also t - s < w
//
// Query head h reads key head h / (H / Hk). Key blocks lie at absolute multiples of kAttentionBlock and each query row
// runs through them in order, so a row's result depends neither on the batch nor on how a prefill was split at such
// borders. Sources: arXiv 2205.14135, section 3.1 (online softmax), 2307.08691, algorithm 2 (backward).
//
// Cost: P = B (L S - L (L - 1) / 2) pairs of a query and a visible key (at most B L w with a window) take
// 2 P H (E + Ev) flops forward, 2 P H (3 E + 2 Ev) backward, each with P H exponentials. With z bytes a number of q,
// forward moves z B (L H + S Hk) (E + Ev) bytes, backward twice that; every 192 rows of queries read their keys again.
// Error, of the largest absolute value of the fp64 reference tensor: fp32 1e-5, gradients 5e-5 (20 times that where
// q is 100 times normal); bf16 2e-2, gradients 2e-2.
#include <optional>

#include "base/torch.h"

namespace lt2 {

struct CausalAttentionInput {
  torch::Tensor q;                // [B, L, H, E]    queries of the positions S - L .. S - 1 (relative to k)
  torch::Tensor k;                // [B, S, Hk, E]   S >= L: keys of earlier calls first; any strides with E contiguous
  torch::Tensor v;                // [B, S, Hk, Ev]  may be a view of k, such as k.narrow(3, 0, Ev)
  std::optional<int64_t> window;  // >= 1; none: unlimited
  double scale = 1.0;             // E^-1/2
  int64_t first_position = 0;     // absolute position of k[:, 0]
};

inline constexpr int64_t kAttentionBlock = 64;

/// o [B, L, H, Ev] in the dtype of q (fp32 or bf16; softmax and sums fp32). Differentiable in q, k, v (training calls
/// have S == L). CPU: tiled kernel; elsewhere and in fp64: plain torch, query block by query block, recomputed in the
/// backward pass. Throws lt2::Error if shapes disagree.
torch::Tensor causal_attention(const CausalAttentionInput& in);

/// Materialised mask and softmax in plain torch, the input's type: the judge. Differentiable.
torch::Tensor causal_attention_reference(const CausalAttentionInput& in);

}  // namespace lt2
