#include "ops/index_loss/op.h"

#include <algorithm>

#include "base/error.h"
#include "ops/in_order.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

torch::Tensor at_least_fp32(const torch::Tensor& t) {
  return t.scalar_type() == torch::kFloat64 ? t : t.to(torch::kFloat32);
}

void check(const IndexLossInput& in) {
  const auto &q = in.index.q, &k = in.index.k, &w = in.index.weights;
  LT2_CHECK(q.dim() == 4 && k.dim() == 3 && w.defined() && q.size(0) == k.size(0) && q.size(1) == k.size(1) &&
                q.size(3) == k.size(2) && w.sizes() == q.sizes().slice(0, 3),
            "index_loss: q [B, L, J, F], k [B, L, F], weights [B, L, J]; found {}, {}, {}", c10::str(q.sizes()),
            c10::str(k.sizes()), w.defined() ? c10::str(w.sizes()) : "none");
  if (in.indices.defined()) {
    LT2_CHECK(in.indices.dim() == 3 && in.indices.sizes().slice(0, 2) == q.sizes().slice(0, 2) &&
                  in.probabilities.defined() && in.probabilities.sizes() == in.indices.sizes(),
              "index_loss: indices and probabilities must be [B, L, N]; found {}", c10::str(in.indices.sizes()));
  } else {
    LT2_CHECK(in.queries.dim() == 4 && in.keys.dim() == 3 && in.queries.sizes().slice(0, 2) == q.sizes().slice(0, 2) &&
                  in.keys.sizes().slice(0, 2) == q.sizes().slice(0, 2) && in.queries.size(2) >= 1 &&
                  in.queries.size(3) == in.keys.size(2),
              "index_loss: queries [B, L, H, E], keys [B, L, E]; found {}, {}", c10::str(in.queries.sizes()),
              c10::str(in.keys.sizes()));
  }
}

/// What queries [begin, end) should look like over keys [0, end).
struct Target {
  torch::Tensor a;        // [B, n, end]
  torch::Tensor visible;  // [B or 1, n, end] bool
};

Target target_of(const IndexLossInput& in, int64_t begin, int64_t end) {
  const int64_t B = in.index.q.size(0), n = end - begin;
  const auto device = in.index.q.device();
  if (in.indices.defined()) {
    const auto given = in.indices.narrow(1, begin, n).to(torch::kInt64);
    const auto columns = given.masked_fill(given < 0, end);  // empty slots go to a column beyond the keys
    const auto spread = [&](const torch::Tensor& values) {
      return torch::zeros({B, n, end + 1}, values.options()).scatter_(2, columns, values).narrow(2, 0, end);
    };
    return {spread(at_least_fp32(in.probabilities.narrow(1, begin, n))), spread(given >= 0)};
  }
  const auto positions = torch::arange(end, torch::dtype(torch::kInt64).device(device));
  const auto visible = (positions.unsqueeze(0) <= positions.narrow(0, begin, n).unsqueeze(1)).unsqueeze(0);
  const int64_t H = in.queries.size(2), E = in.queries.size(3);
  const auto q = at_least_fp32(in.queries.narrow(1, begin, n)).reshape({B, n * H, E});
  const auto k = at_least_fp32(in.keys.narrow(1, 0, end)).transpose(1, 2);
  const auto logits = (q.matmul(k) * in.scale).view({B, n, H, end});
  return {logits.masked_fill(visible.unsqueeze(2).logical_not(), -INFINITY).softmax(-1).mean(2), visible};
}

/// Sum over queries of a (log a - log_softmax).
torch::Tensor divergence(const torch::Tensor& a, const torch::Tensor& log_softmax) {
  return (torch::xlogy(a, a) - a * log_softmax).sum();
}

class IndexLoss : public torch::autograd::Function<IndexLoss> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& w, const IndexLossInput& in) {
    const int64_t B = q.size(0), L = q.size(1), J = q.size(2), F = q.size(3);
    const int64_t heads = std::max(J, in.indices.defined() ? int64_t{1} : in.queries.size(2));
    // About 4 MB per intermediate.
    const int64_t block = std::clamp<int64_t>((int64_t{1} << 20) / (B * heads * L), 1, 256);
    auto loss = torch::zeros({}, q.options());
    const auto dq = torch::empty_like(q), dk = torch::zeros_like(k), dw = torch::empty_like(w);
    struct Part {
      torch::Tensor loss, dk;  // [], [B, end, F]
    };
    const auto make = [&](int64_t i) {
      const int64_t begin = i * block, end = std::min(L, begin + block), n = end - begin;
      const auto target = target_of(in, begin, end);
      const auto a = target.a.to(q.scalar_type()), hidden = target.visible.logical_not();
      const auto q_rows = q.narrow(1, begin, n).reshape({B, n * J, F}), keys = k.narrow(1, 0, end);
      const auto weights = w.narrow(1, begin, n).unsqueeze(-1);  // [B, n, J, 1]
      const auto dots = q_rows.matmul(keys.transpose(1, 2)).view({B, n, J, end}).relu_();
      const auto scores = (dots * weights).sum(2).masked_fill(hidden, -1e30);
      const auto log_p = scores.log_softmax(-1);
      const auto d =
          (log_p.exp() * a.sum(-1, true) - a).div_(static_cast<double>(B * L)).unsqueeze(2);  // [B, n, 1, end]
      dw.narrow(1, begin, n).copy_((dots * d).sum(-1));
      const auto d_dots = (weights * d).mul_(dots > 0).reshape({B, n * J, end});
      dq.narrow(1, begin, n).copy_(d_dots.matmul(keys).view({B, n, J, F}));
      return Part{divergence(a, log_p), d_dots.transpose(1, 2).matmul(q_rows)};
    };
    in_order((L + block - 1) / block, q.device(), make, [&](int64_t, const Part& part) {
      loss += part.loss;
      dk.narrow(1, 0, part.dk.size(1)).add_(part.dk);
    });
    ctx->save_for_backward({dq, dk, dw});
    return loss / static_cast<double>(B * L);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {saved[0] * grads[0], saved[1] * grads[0], saved[2] * grads[0], {}};
  }
};

IndexLossInput detached(const IndexLossInput& in) {
  IndexLossInput out = in;
  for (auto* t : {&out.probabilities, &out.queries, &out.keys}) {
    if (t->defined()) *t = t->detach();
  }
  return out;
}

}  // namespace

torch::Tensor index_loss(const IndexLossInput& in) {
  check(in);
  return IndexLoss::apply(at_least_fp32(in.index.q), at_least_fp32(in.index.k), at_least_fp32(in.index.weights),
                          detached(in));
}

torch::Tensor index_loss_reference(const IndexLossInput& in) {
  check(in);
  const int64_t L = in.index.q.size(1);
  const auto target = target_of(detached(in), 0, L);
  const auto scores = index_scores(in.index, 0, L, L).masked_fill(target.visible.logical_not(), -1e30);
  return divergence(target.a, scores.log_softmax(-1)) / static_cast<double>(in.index.q.size(0) * L);
}

}  // namespace lt2
