// causal_attention for torch: checks, the choice of form, and the link to autograd.
#include <tuple>

#include "base/error.h"
#include "ops/causal_attention/kernel.h"
#include "ops/causal_attention/op.h"
#include "ops/causal_attention/torch_form.h"
#include "ops/causal_attention/views.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

std::string text(const torch::Tensor& t) { return fmt::format("[{}]", fmt::join(t.sizes(), ", ")); }

void check(const CausalAttentionInput& in) {
  for (const auto& [name, t] : {std::pair{"q", in.q}, {"k", in.k}, {"v", in.v}}) {
    LT2_CHECK(t.defined() && t.dim() == 4, "causal_attention: {} must be [B, L, H, E]; found {}", name,
              t.defined() ? text(t) : "no tensor");
    LT2_CHECK(t.scalar_type() == in.q.scalar_type() && t.device() == in.q.device(),
              "causal_attention: q, k and v must share type and device; q is {} on {}, {} is {} on {}",
              c10::toString(in.q.scalar_type()), in.q.device().str(), name, c10::toString(t.scalar_type()),
              t.device().str());
  }
  LT2_CHECK(in.k.sizes().slice(0, 3) == in.v.sizes().slice(0, 3) && in.v.size(3) > 0,
            "causal_attention: k and v must be [B, S, Hk, .] with equal B, S and Hk; found k {}, v {}", text(in.k),
            text(in.v));
  LT2_CHECK(in.q.size(0) == in.k.size(0), "causal_attention: q and k differ in batch size; found q {}, k {}",
            text(in.q), text(in.k));
  LT2_CHECK(in.q.size(3) == in.k.size(3) && in.q.size(3) > 0,
            "causal_attention: q and k must have equal head dimensions of at least 1; found q {}, k {}", text(in.q),
            text(in.k));
  LT2_CHECK(in.q.size(1) > 0, "causal_attention: needs at least one query; found q {}", text(in.q));
  LT2_CHECK(in.q.size(2) > 0 && in.k.size(2) > 0 && in.q.size(2) % in.k.size(2) == 0,
            "causal_attention: the key heads must divide the query heads; found {} query heads, {} key heads",
            in.q.size(2), in.k.size(2));
  LT2_CHECK(in.k.size(1) >= in.q.size(1),
            "causal_attention: every query needs the key of its own position; found {} queries, {} keys", in.q.size(1),
            in.k.size(1));
  LT2_CHECK(!in.window || *in.window >= 1, "causal_attention: window must be at least 1 (the token itself); found {}",
            in.window.value_or(0));
  LT2_CHECK(in.first_position >= 0, "causal_attention: first_position must be at least 0; found {}", in.first_position);
}

struct Options {
  std::optional<int64_t> window;
  double scale;
  int64_t first_position;
};

AttentionShape shape_of(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                        const Options& options) {
  return {.B = q.size(0),
          .L = q.size(1),
          .S = k.size(1),
          .H = q.size(2),
          .Hk = k.size(2),
          .E = q.size(3),
          .Ev = v.size(3),
          .window = std::min(options.window.value_or(kNoWindow), kNoWindow),
          .first_position = options.first_position,
          .scale = static_cast<float>(options.scale),
          .element = element_of(q)};
}

AttentionViews<AttentionShape> views_of(const AttentionShape& shape, const torch::Tensor& q) {
  return {"causal_attention", q.scalar_type(), shape};
}

/// q, k, v with dense rows. lse2 undefined: not wanted.
torch::Tensor forward(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, const Options& options,
                      const torch::Tensor& lse2) {
  const auto s = shape_of(q, k, v, options);
  auto o = torch::empty({s.B, s.L, s.H, s.Ev}, q.options());
  const auto views = views_of(s, q);
  causal_attention_forward(s, views.q(q), views.k(k), views.v(v), views.o<AttentionOutputView>(o), views.lse2(lse2));
  return o;
}

class CausalAttention : public torch::autograd::Function<CausalAttention> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* ctx, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const Options& options) {
    const auto lse2 = torch::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(torch::kFloat32));
    const auto o = lt2::forward(q, k, v, options, lse2);
    ctx->save_for_backward({q, k, v, o, lse2});
    if (options.window) ctx->saved_data["window"] = *options.window;
    ctx->saved_data["scale"] = options.scale;
    ctx->saved_data["first_position"] = options.first_position;
    return o;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2], &o = saved[3], &lse2 = saved[4];
    Options options{.window = std::nullopt,
                    .scale = ctx->saved_data["scale"].toDouble(),
                    .first_position = ctx->saved_data["first_position"].toInt()};
    if (ctx->saved_data.count("window")) options.window = ctx->saved_data["window"].toInt();
    const auto grad_o = dense_rows(grads[0].to(q.scalar_type()));
    const auto like = [](const torch::Tensor& t) { return torch::empty(t.sizes(), t.options()); };
    const auto grad_q = like(q), grad_k = like(k), grad_v = like(v);
    const auto s = shape_of(q, k, v, options);
    const auto views = views_of(s, q);
    causal_attention_backward(s, views.q(q), views.k(k), views.v(v), views.o(o), views.lse2(lse2),
                              views.o(grad_o, "gradient of o"), views.gradients(grad_q, grad_k, grad_v));
    return {grad_q, grad_k, grad_v, torch::Tensor()};
  }
};

}  // namespace

torch::Tensor causal_attention(const CausalAttentionInput& in) {
  check(in);
  const auto type = in.q.scalar_type();
  if (!in.q.is_cpu() || type == torch::kFloat64) return causal_attention_by_query_block(in);
  LT2_CHECK(type == torch::kFloat32 || type == torch::kBFloat16,
            "causal_attention: the CPU computes in fp32, bf16 or fp64; found {}", c10::toString(type));
  const auto q = dense_rows(in.q), k = dense_rows(in.k), v = dense_rows(in.v);
  const Options options{in.window, in.scale, in.first_position};
  const bool train = torch::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  return train ? CausalAttention::apply(q, k, v, options) : forward(q, k, v, options, {});
}

}  // namespace lt2
