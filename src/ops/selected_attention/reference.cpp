// The judge.
#include <cmath>

#include "ops/selected_attention/op.h"

namespace lt2 {

torch::Tensor selected_attention_reference(const SelectedAttentionInput& in) {
  const int64_t B = in.q.size(0), L = in.q.size(1), H = in.q.size(2), E = in.q.size(3);
  const int64_t S = in.k.size(1), Hk = in.k.size(2);
  const auto options = torch::dtype(torch::kInt64).device(in.q.device());
  const auto s = torch::arange(S, options);                                                   // [S]
  const auto t = torch::arange(L, options).view({L, 1, 1}) + in.first_query.value_or(S - L);  // [L, 1, 1]
  const auto block = torch::floor_divide(s, in.block_size);                                   // [S]
  const auto listed = (in.blocks.to(torch::kInt64).unsqueeze(-1) == block).any(3);            // [B, L, Hk, S]
  const auto hidden = (~(listed & (s <= t))).permute({0, 2, 1, 3}).unsqueeze(2);              // [B, Hk, 1, L, S]

  const auto q = in.q.reshape({B, L, Hk, H / Hk, E}).permute({0, 2, 3, 1, 4});  // [B, Hk, G, L, E]
  const auto k = in.k.permute({0, 2, 3, 1}).unsqueeze(2);                       // [B, Hk, 1, E, S]
  const auto v = in.v.permute({0, 2, 1, 3}).unsqueeze(2);                       // [B, Hk, 1, S, Ev]
  // The second mask turns the NaN of a row without keys into 0.
  const auto p = (q.matmul(k) * in.scale).masked_fill(hidden, -INFINITY).softmax(-1).masked_fill(hidden, 0);
  return p.matmul(v).permute({0, 3, 1, 2, 4}).reshape({B, L, H, in.v.size(3)});
}

}  // namespace lt2
