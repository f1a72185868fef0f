// The judge, and its form for long sequences on devices without a kernel of ours.
#include <algorithm>

#include "ops/block_selection/op.h"
#include "ops/block_selection/torch_form.h"

namespace lt2 {
namespace {

/// Queries [begin, end), `columns` blocks each.
BlockSelection select(const BlockSelectionInput& in, int64_t begin, int64_t end, int64_t columns) {
  const int64_t B = in.q.size(0), H = in.q.size(2), E = in.q.size(3), Hk = in.k_mean.size(2), n = end - begin;
  const int64_t last = in.first_position + in.q.size(1) - 1, all = last / in.block_size + 1;
  const int64_t complete = (last + 1) / in.block_size;
  const auto options = torch::dtype(torch::kInt64).device(in.q.device());
  const auto t = torch::arange(in.first_position + begin, in.first_position + end, options).unsqueeze(1);  // [n, 1]
  const auto own = t.div(in.block_size, "floor");
  const auto j = torch::arange(all, options).unsqueeze(0);  // [1, all]
  const auto visible = (j + 1) * in.block_size - 1 <= t;    // [n, all]
  const auto type = in.q.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;

  const auto q = in.q.narrow(1, begin, n).to(type).reshape({B, n, Hk, H / Hk, E}).permute({0, 2, 3, 1, 4});
  const auto k = in.k_mean.narrow(1, 0, complete).to(type).permute({0, 2, 3, 1}).unsqueeze(2);
  const auto v = in.v_mean.narrow(1, 0, complete).to(type).permute({0, 2, 1, 3}).unsqueeze(2);
  const auto seen = visible.narrow(1, 0, complete);
  // Rows that see nothing: a finite fill keeps their softmax a number, then they become zero.
  const auto logits = (q.matmul(k) * in.scale).masked_fill(seen.logical_not(), -1e30);
  const auto p = logits.softmax(-1).masked_fill(seen.logical_not(), 0);  // [B, Hk, G, n, complete]
  BlockSelection out;
  out.o = p.matmul(v).permute({0, 3, 1, 2, 4}).reshape({B, n, H, in.v_mean.size(3)}).to(in.q.scalar_type());

  torch::NoGradGuard no_grad;
  const auto forced = (j == 0) | (j == own) | (j == own - 1);
  auto importance = torch::zeros({B, Hk, n, all}, p.options().requires_grad(false));
  importance.narrow(3, 0, complete).copy_(p.detach().mean(2));
  // Probabilities lie in [0, 1]: two more puts the forced blocks first, in their own order (fp64 keeps it).
  const auto exact = importance.to(torch::kFloat64);
  const auto rank = torch::where(forced, exact + 2, exact.masked_fill(visible.logical_not(), -1));
  const auto sorted = rank.sort(/*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const auto order = std::get<1>(sorted).narrow(3, 0, columns);
  const auto kept = order.masked_fill(std::get<0>(sorted).narrow(3, 0, columns) < 0, all);
  const auto ascending = std::get<0>(kept.sort(-1));
  out.blocks = ascending.masked_fill(ascending == all, -1).permute({0, 2, 1, 3}).contiguous().to(torch::kInt32);
  return out;
}

int64_t columns_of(const BlockSelectionInput& in) {
  return std::min(in.count, (in.first_position + in.q.size(1) - 1) / in.block_size + 1);
}

}  // namespace

BlockSelection block_selection_reference(const BlockSelectionInput& in) {
  return select(in, 0, in.q.size(1), columns_of(in));
}

BlockSelection block_selection_by_query_block(const BlockSelectionInput& in) {
  constexpr int64_t kQueries = 256;
  const int64_t L = in.q.size(1), columns = columns_of(in);
  std::vector<torch::Tensor> o, blocks;
  for (int64_t begin = 0; begin < L; begin += kQueries) {
    const auto part = select(in, begin, std::min(L, begin + kQueries), columns);
    o.push_back(part.o);
    blocks.push_back(part.blocks);
  }
  return {.o = torch::cat(o, 1), .blocks = torch::cat(blocks, 1)};
}

torch::Tensor block_means_reference(const torch::Tensor& x, int64_t block_size) {
  const int64_t B = x.size(0), N = x.size(1) / block_size, Hk = x.size(2), E = x.size(3);
  const auto type = x.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  return x.narrow(1, 0, N * block_size).to(type).reshape({B, N, block_size, Hk, E}).mean(2);
}

}  // namespace lt2
