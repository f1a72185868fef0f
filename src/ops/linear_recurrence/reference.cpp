#include "ops/linear_recurrence/op.h"

namespace lt2 {

LinearRecurrenceOutput linear_recurrence_reference(const LinearRecurrenceInput& in) {
  const auto rows = [](const torch::Tensor& x) { return x.to(torch::kFloat64); };
  const auto columns = [&](const torch::Tensor& x) { return rows(x).unsqueeze(-1); };
  const auto q = columns(in.q) * in.scale, k = columns(in.k);  // [B, L, H, K, 1]
  const auto v = rows(in.v).unsqueeze(-2);                     // [B, L, H, 1, V]
  torch::Tensor fade, beta;
  if (in.g.defined())
    fade = (in.g.dim() == 4 ? columns(in.g) : columns(in.g).unsqueeze(-1)).exp();  // [B, L, H, K or 1, 1]
  if (in.beta.defined()) beta = columns(in.beta).unsqueeze(-1);                    // [B, L, H, 1, 1]
  const int64_t B = q.size(0), L = q.size(1), H = q.size(2), K = q.size(3), V = v.size(4);
  auto S = in.state.defined() ? rows(in.state) : torch::zeros({B, H, K, V}, q.options());
  std::vector<torch::Tensor> o;
  for (int64_t t = 0; t < L; ++t) {
    const auto k_t = k.select(1, t);  // [B, H, K, 1]
    if (fade.defined()) S = fade.select(1, t) * S;
    auto u = v.select(1, t);  // [B, H, 1, V]
    if (beta.defined()) u = beta.select(1, t) * (u - k_t.transpose(-1, -2).matmul(S));
    S = S + k_t.matmul(u);
    o.push_back(q.select(1, t).transpose(-1, -2).matmul(S).squeeze(-2));  // [B, H, V]
  }
  return {torch::stack(o, 1), S};
}

}  // namespace lt2
