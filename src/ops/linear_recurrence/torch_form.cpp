// The chunked form in torch operations: all chunks at once as far as possible, one short step per chunk for the state.
#include <bit>

#include "base/error.h"
#include "ops/linear_recurrence/op.h"

namespace lt2 {
namespace {

using torch::Tensor;

// Sums over tokens (dimension -2) of non-positive steps. Each starts where its range starts: differences of two long
// sums would lose the digits of short ranges.
Tensor sum_to(const Tensor& g) { return g.cumsum(-2); }  // over 1..i
Tensor sum_after(const Tensor& g) {                      // over j+1..C
  const int64_t C = g.size(-2);
  const auto shifted = torch::cat({g.narrow(-2, 1, C - 1), torch::zeros_like(g.narrow(-2, 0, 1))}, -2);
  return shifted.flip(-2).cumsum(-2).flip(-2);
}

// Pair weights w_ij = sum_r x_i[r] k_j[r] exp(g_{j+1}[r] + .. + g_i[r]) for j <= i (strict: j < i), else 0: [.., C, C].
Tensor pair_weights(const Tensor& x, const Tensor& k, const Tensor& g, bool strict) {
  const int64_t C = k.size(-2);
  const int64_t diagonal = strict ? -1 : 0;
  if (!g.defined()) return x.matmul(k.transpose(-1, -2)).tril(diagonal);
  if (g.size(-1) == 1) {
    // Column j of the copies starts after j, so its running sum is the range sum; above the diagonal it is 0, never
    // positive.
    const auto range = g.expand({-1, -1, -1, C, C}).tril(-1).cumsum(-2);
    return (x.matmul(k.transpose(-1, -2)) * range.exp()).tril(diagonal);
  }
  // Halves of halves: a later half reads an earlier one through the border between them, both exponents <= 0.
  auto w = (x * k).sum(-1, true).unsqueeze(-1);  // [.., C, 1, 1]
  if (strict) w = torch::zeros_like(w);
  for (int64_t h = 1; h < C; h *= 2) {
    const auto halves = [&](const Tensor& y) { return y.unflatten(-2, {C / (2 * h), 2, h}); };  // [.., C / 2h, 2, h, K]
    const auto earlier = [&](const Tensor& y) { return halves(y).select(-3, 0); };
    const auto later = [&](const Tensor& y) { return halves(y).select(-3, 1); };
    const auto across =
        (later(x) * sum_to(later(g)).exp())
            .matmul((earlier(k) * sum_after(earlier(g)).exp()).transpose(-1, -2));  // [.., C / 2h, h, h]
    const auto pair = w.unflatten(-3, {C / (2 * h), 2});                            // [.., C / 2h, 2, h, h]
    w = torch::cat(
        {torch::cat({pair.select(-3, 0), torch::zeros_like(across)}, -1), torch::cat({across, pair.select(-3, 1)}, -1)},
        -2);
  }
  return w.squeeze(-3);
}

}  // namespace

LinearRecurrenceOutput linear_recurrence_torch(const LinearRecurrenceInput& in, int64_t chunk) {
  LT2_CHECK(chunk > 0 && std::has_single_bit(static_cast<uint64_t>(chunk)),
            "linear_recurrence: chunk must be a power of 2, found {}", chunk);
  const auto type = in.q.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const int64_t B = in.q.size(0), L = in.q.size(1), H = in.q.size(2), K = in.q.size(3), V = in.v.size(3);
  // Padding changes nothing: k = 0 writes nothing, g = 0 fades nothing. In front, it puts the borders where they
  // belong.
  int64_t C = chunk, front = in.position % chunk;
  if (front + L <= chunk) {
    front = 0;
    C = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(L)));
  }
  const int64_t N = (front + L + C - 1) / C, back = N * C - front - L;
  const auto cut = [&](const Tensor& x) {  // [B, L, H, n] -> [B, H, N, C, n]
    return torch::constant_pad_nd(x.to(type), {0, 0, 0, 0, front, back}).unflatten(1, {N, C}).permute({0, 3, 1, 2, 4});
  };
  const auto q = cut(in.q) * in.scale, k = cut(in.k), v = cut(in.v);
  Tensor g, beta, A_inverse_v, A_inverse_k;
  if (in.g.defined()) g = cut(in.g.dim() == 4 ? in.g : in.g.unsqueeze(-1));  // [B, H, N, C, K or 1]
  const auto from_start = [&](const Tensor& x) { return g.defined() ? x * sum_to(g).exp() : x; };
  const auto P = pair_weights(q, k, g, false);  // [B, H, N, C, C]
  const auto q_start = from_start(q);
  const auto k_end = (g.defined() ? k * sum_after(g).exp() : k).transpose(-1, -2);
  const auto keep = g.defined() ? g.sum(-2).exp().unsqueeze(-1) : Tensor();  // [B, H, N, K or 1, 1]
  auto u = v, recall = Tensor();
  if (in.beta.defined()) {
    const auto erase = k * cut(in.beta.unsqueeze(-1));
    const auto A = pair_weights(erase, k, g, true);
    const auto right = torch::cat({v * cut(in.beta.unsqueeze(-1)), from_start(erase)}, -1);
    const auto solved =
        torch::linalg_solve_triangular(A + torch::eye(C, A.options()), right, /*upper=*/false, /*left=*/true,
                                       /*unitriangular=*/true)
            .split_with_sizes({V, K}, -1);
    u = solved[0];
    recall = solved[1];
  }
  auto S = in.state.defined() ? in.state.to(type) : torch::zeros({B, H, K, V}, q.options());
  std::vector<Tensor> o;
  for (int64_t n = 0; n < N; ++n) {
    auto u_n = u.select(2, n);
    if (recall.defined()) u_n = u_n - recall.select(2, n).matmul(S);
    o.push_back(q_start.select(2, n).matmul(S) + P.select(2, n).matmul(u_n));
    S = (keep.defined() ? keep.select(2, n) * S : S) + k_end.select(2, n).matmul(u_n);
  }
  const auto whole = torch::stack(o, 2).permute({0, 2, 3, 1, 4}).flatten(1, 2).narrow(1, front, L);  // [B, L, H, V]
  return {whole.to(in.v.scalar_type()), S};
}

}  // namespace lt2
