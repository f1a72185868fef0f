// The judge, and its form for long sequences on devices without a kernel of ours.
#include <cmath>

#include "ops/causal_attention/op.h"
#include "ops/causal_attention/torch_form.h"

namespace lt2 {
namespace {

/// Queries [begin, end) against the keys they see.
torch::Tensor attend(const CausalAttentionInput& in, int64_t begin, int64_t end) {
  const int64_t B = in.q.size(0), L = in.q.size(1), H = in.q.size(2), E = in.q.size(3);
  const int64_t S = in.k.size(1), Hk = in.k.size(2), n = end - begin;
  const int64_t last = S - L + end - 1;  // key at the last query's position
  const int64_t first = in.window ? std::max<int64_t>(0, S - L + begin - *in.window + 1) : 0;
  const int64_t keys = last - first + 1;
  const auto options = torch::dtype(torch::kInt64).device(in.q.device());
  const auto t = torch::arange(S - L + begin, last + 1, options).unsqueeze(1);  // [n, 1]
  const auto s = torch::arange(first, last + 1, options).unsqueeze(0);          // [1, keys]
  auto hidden = s > t;
  if (in.window) hidden = hidden | (t - s >= *in.window);

  const auto q = in.q.narrow(1, begin, n).view({B, n, Hk, H / Hk, E}).permute({0, 2, 3, 1, 4});  // [B, Hk, G, n, E]
  const auto k = in.k.narrow(1, first, keys).permute({0, 2, 3, 1}).unsqueeze(2);                 // [B, Hk, 1, E, keys]
  const auto v = in.v.narrow(1, first, keys).permute({0, 2, 1, 3}).unsqueeze(2);                 // [B, Hk, 1, keys, E]
  const auto p = (q.matmul(k) * in.scale).masked_fill(hidden, -INFINITY).softmax(-1);
  return p.matmul(v).permute({0, 3, 1, 2, 4}).reshape({B, n, H, E});
}

}  // namespace

torch::Tensor causal_attention_reference(const CausalAttentionInput& in) { return attend(in, 0, in.q.size(1)); }

torch::Tensor causal_attention_by_query_block(const CausalAttentionInput& in) {
  constexpr int64_t kQueries = 256;
  const int64_t L = in.q.size(1);
  CausalAttentionInput exact = in;
  if (in.q.scalar_type() != torch::kFloat64) {
    exact.q = in.q.to(torch::kFloat32);
    exact.k = in.k.to(torch::kFloat32);
    exact.v = in.v.to(torch::kFloat32);
  }
  std::vector<torch::Tensor> o;
  for (int64_t begin = 0; begin < L; begin += kQueries)
    o.push_back(attend(exact, begin, std::min(L, begin + kQueries)));
  return torch::cat(o, 1).to(in.q.scalar_type());
}

}  // namespace lt2
