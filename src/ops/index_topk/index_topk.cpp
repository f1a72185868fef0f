// index_topk for torch: checks, the choice of form, and the plain torch form.
#include <algorithm>

#include "base/error.h"
#include "ops/index_topk/kernel.h"
#include "ops/index_topk/op.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

void check(const IndexTopkInput& in) {
  LT2_CHECK(in.q.dim() == 4 && in.k.dim() == 3 && in.q.size(0) == in.k.size(0) && in.q.size(3) == in.k.size(2),
            "index_topk: q [B, L, J, F], k [B, S, F]; found q {}, k {}", c10::str(in.q.sizes()),
            c10::str(in.k.sizes()));
  LT2_CHECK(in.q.size(2) >= 1, "index_topk: needs an index head; found q {}", c10::str(in.q.sizes()));
  LT2_CHECK(in.q.size(1) >= 1 && in.k.size(1) >= in.q.size(1),
            "index_topk: every query needs the key of its own position; found {} queries, {} keys", in.q.size(1),
            in.k.size(1));
  LT2_CHECK(in.k.size(1) < int64_t{1} << 31, "index_topk: positions are int32; found {} keys", in.k.size(1));
  LT2_CHECK(in.q.scalar_type() == in.k.scalar_type(), "index_topk: q and k must share a type; found {} and {}",
            c10::toString(in.q.scalar_type()), c10::toString(in.k.scalar_type()));
  LT2_CHECK(!in.weights.defined() || (in.weights.dim() == 3 && in.weights.sizes() == in.q.sizes().slice(0, 3)),
            "index_topk: weights must be [B, L, J] as in q {}; found {}", c10::str(in.q.sizes()),
            c10::str(in.weights.sizes()));
  LT2_CHECK(in.count >= 1, "index_topk: count must be at least 1; found {}", in.count);
}

torch::Tensor at_least_fp32(const torch::Tensor& t) {
  return t.scalar_type() == torch::kFloat64 ? t : t.to(torch::kFloat32);
}

/// Queries [begin, end) by stable sorts.
torch::Tensor select_by_sorting(const IndexTopkInput& in, int64_t begin, int64_t end) {
  const int64_t S = in.k.size(1), first = S - in.q.size(1), columns = std::min(in.count, S);
  const auto options = torch::dtype(torch::kInt64).device(in.q.device());
  const auto t = torch::arange(first + begin, first + end, options).unsqueeze(1);
  const auto hidden = torch::arange(S, options).unsqueeze(0) > t;  // [n, S]
  const auto scores =
      index_scores(in, begin, end, S).nan_to_num(-3.4e38, 3.4e38, -3.3e38).masked_fill(hidden, -INFINITY);
  const auto order = std::get<1>(scores.sort(/*stable=*/true, /*dim=*/-1, /*descending=*/true)).narrow(2, 0, columns);
  // Causal positions first, ascending; then -1.
  const auto kept = std::get<0>(order.masked_fill(order > t, S).sort(-1));
  return kept.masked_fill(kept == S, -1).to(torch::kInt32);
}

}  // namespace

torch::Tensor index_scores(const IndexTopkInput& in, int64_t begin, int64_t end, int64_t keys) {
  const int64_t B = in.q.size(0), n = end - begin, J = in.q.size(2), F = in.q.size(3);
  const auto q = at_least_fp32(in.q.narrow(1, begin, n));
  const auto k = at_least_fp32(in.k.narrow(1, 0, keys)).transpose(1, 2);  // [B, F, keys]
  if (!in.weights.defined()) return q.mean(2).matmul(k);
  const auto dots = q.reshape({B, n * J, F}).matmul(k).relu().view({B, n, J, keys});
  return (dots * in.weights.narrow(1, begin, n).unsqueeze(-1)).sum(2);
}

torch::Tensor index_topk_reference(const IndexTopkInput& in) {
  check(in);
  torch::NoGradGuard no_grad;
  return select_by_sorting(in, 0, in.q.size(1));
}

torch::Tensor index_topk(const IndexTopkInput& in) {
  check(in);
  torch::NoGradGuard no_grad;
  const int64_t B = in.q.size(0), L = in.q.size(1), S = in.k.size(1), J = in.q.size(2), F = in.q.size(3);
  if (!kernel_takes("index_topk", in.q)) {
    constexpr int64_t kQueries = 128;
    std::vector<torch::Tensor> parts;
    for (int64_t begin = 0; begin < L; begin += kQueries)
      parts.push_back(select_by_sorting(in, begin, std::min(L, begin + kQueries)));
    return torch::cat(parts, 1);
  }
  const auto q = in.q.stride(3) == 1 && in.q.stride(2) == F ? in.q : in.q.contiguous();
  const auto k = in.k.stride(2) == 1 ? in.k : in.k.contiguous();
  const auto weights = in.weights.defined() ? in.weights.to(torch::kFloat32).contiguous() : torch::Tensor();
  const int64_t columns = std::min(in.count, S);
  const auto indices = torch::empty({B, L, columns}, torch::kInt32);
  index_topk_select({.B = B, .L = L, .S = S, .J = J, .F = F, .count = columns, .element = element_of(q)},
                    {.q = strided_data(q, q.scalar_type(), {B, L, J, F}, 2, {"index_topk", "q"}),
                     .k = strided_data(k, q.scalar_type(), {B, S, F}, 1, {"index_topk", "k"}),
                     .weights = dense_data_or_null<float>(weights, B * L * J, {"index_topk", "weights"}),
                     .q_batch = q.stride(0),
                     .q_position = q.stride(1),
                     .k_batch = k.stride(0),
                     .k_position = k.stride(1),
                     .indices = dense_data<int32_t>(indices, B * L * columns, {"index_topk", "indices"})});
  return indices;
}

}  // namespace lt2
