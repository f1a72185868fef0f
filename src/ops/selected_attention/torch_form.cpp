// selected_attention for devices without a kernel of ours and for fp64, and the mean probabilities everywhere.
#include "ops/selected_attention/torch_form.h"

#include <cmath>

#include "base/error.h"
#include "ops/in_order.h"

namespace lt2 {
namespace {

// Elements of gathered keys and values at a time.
constexpr int64_t kGathered = int64_t{1} << 20;

torch::Tensor exact(const torch::Tensor& t) { return t.scalar_type() == torch::kFloat64 ? t : t.to(torch::kFloat32); }

/// q, k, v of a type to compute in, k and v as [B Hk S, .].
struct Problem {
  torch::Tensor q, k, v, blocks;
  int64_t B, L, S, H, Hk, block_size, first_query;
  double scale;

  Problem(const torch::Tensor& queries, const torch::Tensor& keys, const torch::Tensor& values,
          const torch::Tensor& lists, int64_t size, int64_t first, double factor)
      : q(exact(queries)),
        k(exact(keys).transpose(1, 2).reshape({-1, keys.size(3)})),
        v(exact(values).transpose(1, 2).reshape({-1, values.size(3)})),
        blocks(lists),
        B(q.size(0)),
        L(q.size(1)),
        S(keys.size(1)),
        H(q.size(2)),
        Hk(keys.size(2)),
        block_size(size),
        first_query(first),
        scale(factor) {}

  int64_t queries_at_a_time() const {
    const int64_t of_query = B * Hk * blocks.size(3) * block_size * (k.size(1) + v.size(1));
    return std::clamp<int64_t>(kGathered / std::max<int64_t>(1, of_query), 1, L);
  }
  /// Rows of [B Hk S, .] -> [B, S, Hk, .]
  torch::Tensor by_position(const torch::Tensor& rows) const {
    return rows.view({B, Hk, S, rows.size(1)}).transpose(1, 2);
  }
};

/// Queries [begin, begin + n) with their gathered keys, K = N block_size.
struct QueryBlock {
  int64_t begin, n;
  torch::Tensor q;     // [B, n, Hk, G, E]
  torch::Tensor rows;  // [B n Hk K] of Problem::k and v
  torch::Tensor k, v;  // [B, n, Hk, K, E or Ev]
  torch::Tensor p;     // [B, n, Hk, G, K]

  QueryBlock(const Problem& in, int64_t at, int64_t count) : begin(at), n(count) {
    const auto options = torch::dtype(torch::kInt64).device(in.q.device());
    const auto blocks = in.blocks.narrow(1, begin, n).to(torch::kInt64).unsqueeze(-1);  // [B, n, Hk, N, 1]
    const auto keys = blocks * in.block_size + torch::arange(in.block_size, options);
    const auto t = torch::arange(in.first_query + begin, in.first_query + begin + n, options).view({n, 1, 1, 1});
    const auto hidden = ((blocks < 0) | (keys > t)).flatten(3);  // [B, n, Hk, K]
    const auto sequence =
        (torch::arange(in.B, options).view({-1, 1, 1, 1}) * in.Hk + torch::arange(in.Hk, options).view({1, 1, -1, 1})) *
        in.S;
    rows = (keys.flatten(3).masked_fill(hidden, 0) + sequence).flatten();
    q = by_key_head(in, in.q);
    const auto gathered = [&](const torch::Tensor& from) {
      return from.index_select(0, rows).view({in.B, n, in.Hk, hidden.size(3), from.size(1)});
    };
    k = gathered(in.k);
    v = gathered(in.v);
    const auto nothing = hidden.unsqueeze(3);
    p = (q.matmul(k.transpose(-1, -2)) * in.scale).masked_fill(nothing, -INFINITY).softmax(-1).masked_fill(nothing, 0);
  }

  torch::Tensor by_key_head(const Problem& in, const torch::Tensor& t) const {
    return t.narrow(1, begin, n).reshape({in.B, n, in.Hk, in.H / in.Hk, t.size(3)});
  }
};

template <typename Body>
void for_each_block(const Problem& in, Body&& body) {
  const int64_t step = in.queries_at_a_time();
  for (int64_t begin = 0; begin < in.L; begin += step) body(QueryBlock(in, begin, std::min(step, in.L - begin)));
}

torch::Tensor forward(const Problem& in) {
  std::vector<torch::Tensor> o;
  for_each_block(in, [&](const QueryBlock& block) { o.push_back(block.p.matmul(block.v).flatten(2, 3)); });
  return torch::cat(o, 1);
}

class ByQueryBlock : public torch::autograd::Function<ByQueryBlock> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* ctx, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const torch::Tensor& blocks, int64_t block_size,
                               int64_t first_query, double scale) {
    ctx->save_for_backward({q, k, v, blocks});
    ctx->saved_data["block_size"] = block_size;
    ctx->saved_data["first_query"] = first_query;
    ctx->saved_data["scale"] = scale;
    return lt2::forward(Problem(q, k, v, blocks, block_size, first_query, scale)).to(q.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    LT2_CHECK(!torch::GradMode::is_enabled(),
              "selected_attention: its gradient is not differentiable again; call backward with create_graph = false");
    const auto saved = ctx->get_saved_variables();
    const Problem in(saved[0], saved[1], saved[2], saved[3], ctx->saved_data["block_size"].toInt(),
                     ctx->saved_data["first_query"].toInt(), ctx->saved_data["scale"].toDouble());
    const auto grad_o = exact(grads[0]);
    const auto grad_k = torch::zeros_like(in.k), grad_v = torch::zeros_like(in.v);
    std::vector<torch::Tensor> grad_q;
    for_each_block(in, [&](const QueryBlock& block) {
      const auto grad = block.by_key_head(in, grad_o);
      const auto grad_p = grad.matmul(block.v.transpose(-1, -2));
      const auto grad_s = block.p * (grad_p - (grad_p * block.p).sum(-1, true)) * in.scale;
      grad_q.push_back(grad_s.matmul(block.k).flatten(2, 3));
      grad_k.index_add_(0, block.rows, grad_s.transpose(-1, -2).matmul(block.q).flatten(0, 3));
      grad_v.index_add_(0, block.rows, block.p.transpose(-1, -2).matmul(grad).flatten(0, 3));
    });
    const auto type = saved[0].scalar_type();
    return {torch::cat(grad_q, 1).to(type),
            in.by_position(grad_k).to(type),
            in.by_position(grad_v).to(type),
            torch::Tensor(),
            torch::Tensor(),
            torch::Tensor(),
            torch::Tensor()};
  }
};

int64_t first_query(const SelectedAttentionInput& in) { return in.first_query.value_or(in.k.size(1) - in.q.size(1)); }

}  // namespace

torch::Tensor selected_attention_by_query_block(const SelectedAttentionInput& in) {
  const bool train =
      torch::GradMode::is_enabled() && (in.q.requires_grad() || in.k.requires_grad() || in.v.requires_grad());
  if (train) return ByQueryBlock::apply(in.q, in.k, in.v, in.blocks, in.block_size, first_query(in), in.scale);
  const torch::NoGradGuard no_grad;
  return forward(Problem(in.q, in.k, in.v, in.blocks, in.block_size, first_query(in), in.scale)).to(in.q.scalar_type());
}

torch::Tensor selected_attention_mean_probabilities_by_query_block(const SelectedAttentionInput& in) {
  const torch::NoGradGuard no_grad;
  // Values are not needed: one channel of the keys stands in.
  const Problem problem(in.q, in.k, in.k.narrow(3, 0, 1), in.blocks, in.block_size, first_query(in), in.scale);
  const int64_t step = problem.queries_at_a_time();
  const auto make = [&](int64_t i) {
    const QueryBlock block(problem, i * step, std::min(step, problem.L - i * step));
    return block.p.mean(3).to(torch::kFloat32);
  };
  std::vector<torch::Tensor> means;
  in_order((problem.L + step - 1) / step, problem.q.device(), make,
           [&](int64_t, const torch::Tensor& mean) { means.push_back(mean); });
  return torch::cat(means, 1);
}

}  // namespace lt2
