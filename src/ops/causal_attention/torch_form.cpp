// causal_attention for devices without a kernel of ours, and for fp64.
#include "ops/causal_attention/torch_form.h"

#include <cmath>

#include "base/error.h"

namespace lt2 {
namespace {

constexpr int64_t kQueries = 256;

struct Options {
  std::optional<int64_t> window;
  double scale;
};

torch::Tensor exact(const torch::Tensor& t) { return t.scalar_type() == torch::kFloat64 ? t : t.to(torch::kFloat32); }

/// Queries [begin, begin + n) and the keys [first, first + keys) that they see.
struct QueryBlock {
  int64_t begin, n, first, keys;
  torch::Tensor q, k, v;  // [B, Hk, G, n, E], [B, Hk, 1, keys, E], [B, Hk, 1, keys, Ev]
  torch::Tensor p;        // [B, Hk, G, n, keys]

  QueryBlock(const torch::Tensor& queries, const torch::Tensor& all_k, const torch::Tensor& all_v, int64_t at,
             const Options& options)
      : begin(at), n(std::min(kQueries, queries.size(1) - at)) {
    const int64_t past = all_k.size(1) - queries.size(1);  // keys before query 0
    first = options.window ? std::max<int64_t>(0, past + begin - *options.window + 1) : 0;
    keys = past + begin + n - first;
    q = by_key_head(queries, all_k.size(2));
    k = all_k.narrow(1, first, keys).transpose(1, 2).unsqueeze(2);
    v = all_v.narrow(1, first, keys).transpose(1, 2).unsqueeze(2);
    const auto index = torch::dtype(torch::kInt64).device(queries.device());
    const auto t = torch::arange(past + begin, past + begin + n, index).unsqueeze(1);
    const auto s = torch::arange(first, first + keys, index).unsqueeze(0);
    auto hidden = s > t;
    if (options.window) hidden = hidden | (t - s >= *options.window);
    p = (q.matmul(k.transpose(-1, -2)) * options.scale).masked_fill(hidden, -INFINITY).softmax(-1);
  }

  /// These queries' part of [B, L, H, E] as [B, Hk, G, n, E].
  torch::Tensor by_key_head(const torch::Tensor& t, int64_t Hk) const {
    return t.narrow(1, begin, n).reshape({t.size(0), n, Hk, t.size(2) / Hk, t.size(3)}).permute({0, 2, 3, 1, 4});
  }
};

/// [B, Hk, G, n, E] -> [B, n, H, E]
torch::Tensor by_position(const torch::Tensor& t) { return t.permute({0, 3, 1, 2, 4}).flatten(2, 3); }

torch::Tensor forward(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, const Options& options) {
  const torch::NoGradGuard no_grad;
  const auto exact_q = exact(q), exact_k = exact(k), exact_v = exact(v);
  std::vector<torch::Tensor> o;
  for (int64_t begin = 0; begin < q.size(1); begin += kQueries) {
    const QueryBlock block(exact_q, exact_k, exact_v, begin, options);
    o.push_back(by_position(block.p.matmul(block.v)));
  }
  return torch::cat(o, 1).to(q.scalar_type());
}

class ByQueryBlock : public torch::autograd::Function<ByQueryBlock> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* ctx, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const Options& options) {
    ctx->save_for_backward({q, k, v});
    if (options.window) ctx->saved_data["window"] = *options.window;
    ctx->saved_data["scale"] = options.scale;
    return lt2::forward(q, k, v, options);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    LT2_CHECK(!torch::GradMode::is_enabled(),
              "causal_attention: its gradient is not differentiable again; call backward with create_graph = false");
    const auto saved = ctx->get_saved_variables();
    const auto q = exact(saved[0]), k = exact(saved[1]), v = exact(saved[2]), grad_o = exact(grads[0]);
    Options options{.window = std::nullopt, .scale = ctx->saved_data["scale"].toDouble()};
    if (ctx->saved_data.count("window")) options.window = ctx->saved_data["window"].toInt();
    const auto grad_k = torch::zeros(k.sizes(), k.options()), grad_v = torch::zeros(v.sizes(), v.options());
    std::vector<torch::Tensor> grad_q;
    for (int64_t begin = 0; begin < q.size(1); begin += kQueries) {
      const QueryBlock block(q, k, v, begin, options);
      const auto grad = block.by_key_head(grad_o, k.size(2));
      const auto grad_p = grad.matmul(block.v.transpose(-1, -2));
      const auto grad_s = block.p * (grad_p - (grad_p * block.p).sum(-1, true)) * options.scale;
      grad_q.push_back(by_position(grad_s.matmul(block.k)));
      const auto add = [&](const torch::Tensor& to, const torch::Tensor& weights, const torch::Tensor& rows) {
        to.narrow(1, block.first, block.keys) += weights.transpose(-1, -2).matmul(rows).sum(2).transpose(1, 2);
      };
      add(grad_k, grad_s, block.q);
      add(grad_v, block.p, grad);
    }
    const auto type = saved[0].scalar_type();
    return {torch::cat(grad_q, 1).to(type), grad_k.to(type), grad_v.to(type), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor causal_attention_by_query_block(const CausalAttentionInput& in) {
  const Options options{in.window, in.scale};
  const bool train =
      torch::GradMode::is_enabled() && (in.q.requires_grad() || in.k.requires_grad() || in.v.requires_grad());
  return train ? ByQueryBlock::apply(in.q, in.k, in.v, options) : forward(in.q, in.k, in.v, options);
}

}  // namespace lt2
