#pragma once
// Softmax attention of every query over a list of key blocks of its own: what `dsa` (blocks of one key) and the
// selection branch of `nsa` share. L x L is never stored; time per query grows with the list, not with the context.
//
//   p[t, s] = softmax over visible s of (q[t] . k[s] * scale),   o[t] = sum_s p[t, s] v[s]
//   visible: s <= t and floor(s / block_size) in blocks[t, hk]; each key once
//
// Query head h reads key head and list h / (H / Hk). A row's keys are taken in ascending order, in tiles of fixed size,
// so its result depends neither on the batch nor on the threads nor on how a prefill was split. A row without a visible
// key gives 0 and no gradient. Sources: arXiv 2502.11089, section 3.3 (NSA); 2512.02556, equation 2 (DSA).
//
// Cost: n <= N block_size keys a query take 2 B L H n (E + Ev) flops forward, 2 B L H n (3 E + 2 Ev) backward, each
// with B L H n exponentials; mean probabilities take 2 B L H N block_size E. With z bytes a number of q, forward moves
// z B L (H + Hk n) (E + Ev) + 4 B L Hk N bytes, backward (2 z H + z Hk n + 8 Hk n) B L (E + Ev) + 16 B L H n.
// Error, of the largest absolute value of the fp64 reference tensor: fp32 1e-5, gradients 5e-5; bf16 2e-2, gradients
// 2e-2.
#include <optional>

#include "base/torch.h"

namespace lt2 {

struct SelectedAttentionInput {
  torch::Tensor q;  // [B, L, H, E]
  torch::Tensor k;  // [B, S, Hk, E]   any strides with E contiguous
  torch::Tensor v;  // [B, S, Hk, Ev]  may be a view of k: k.narrow(3, 0, Ev)
  torch::Tensor
      blocks;  // [B, L, Hk, N]   int32 or int64: block indices strictly ascending, then -1; block j holds keys
               //                 [j block_size, (j + 1) block_size) counted from k[:, 0]
  int64_t block_size = 1;
  double scale = 1.0;
  // Index in k of query 0's own key; none: S - L (the queries are the last tokens).
  std::optional<int64_t> first_query = std::nullopt;
};

/// o [B, L, H, Ev] in the dtype of q (fp32 or bf16; softmax and sums fp32). Differentiable in q, k, v. CPU: gathered
/// tiles, gradients independent of the number of threads; elsewhere and in fp64: plain torch, query block by query
/// block. Throws lt2::Error if shapes disagree or a list is not as described.
torch::Tensor selected_attention(const SelectedAttentionInput& in);

/// Mean over the query heads of each key head of p, [B, L, Hk, N * block_size] fp32; entry n * block_size + i belongs
/// to key i of the n-th listed block, 0 where that is not visible. No gradient.
torch::Tensor selected_attention_mean_probabilities(const SelectedAttentionInput& in);

/// Materialised mask and softmax in plain torch, the input's type: the judge. Differentiable.
torch::Tensor selected_attention_reference(const SelectedAttentionInput& in);

}  // namespace lt2
