// The judge.
#include <cmath>

#include "ops/causal_attention/op.h"

namespace lt2 {
torch::Tensor causal_attention_reference(const CausalAttentionInput& in) {
  const int64_t B = in.q.size(0), L = in.q.size(1), H = in.q.size(2), E = in.q.size(3);
  const int64_t S = in.k.size(1), Hk = in.k.size(2);
  const auto options = torch::dtype(torch::kInt64).device(in.q.device());
  const auto t = torch::arange(S - L, S, options).unsqueeze(1);  // [L, 1]
  const auto s = torch::arange(S, options).unsqueeze(0);         // [1, S]
  auto hidden = s > t;
  if (in.window) hidden = hidden | (t - s >= *in.window);

  const auto q = in.q.view({B, L, Hk, H / Hk, E}).permute({0, 2, 3, 1, 4});  // [B, Hk, G, L, E]
  const auto k = in.k.permute({0, 2, 3, 1}).unsqueeze(2);                    // [B, Hk, 1, E, S]
  const auto v = in.v.permute({0, 2, 1, 3}).unsqueeze(2);                    // [B, Hk, 1, S, Ev]
  const auto p = (q.matmul(k) * in.scale).masked_fill(hidden, -INFINITY).softmax(-1);
  return p.matmul(v).permute({0, 3, 1, 2, 4}).reshape({B, L, H, in.v.size(3)});
}

}  // namespace lt2
