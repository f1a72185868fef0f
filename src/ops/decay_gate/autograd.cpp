#include "base/error.h"
#include "ops/decay_gate/kernel.h"
#include "ops/decay_gate/op.h"
#include "ops/kernel_dispatch.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

torch::Tensor run_log_decay(const torch::Tensor& x, const torch::Tensor& A_log, const torch::Tensor& dt_bias) {
  const auto z = x.to(torch::kFloat32).contiguous(), rate = A_log.exp(), bias = dt_bias.contiguous();
  auto out = torch::empty_like(z);
  const int64_t n = A_log.numel();
  log_decay_forward(z.data_ptr<float>(), rate.data_ptr<float>(), bias.data_ptr<float>(), out.data_ptr<float>(),
                    z.numel() / n, n);
  return out;
}

// The backward pass may use torch's elementwise functions: gradients are summed over the batch anyway.
class LogDecay : public torch::autograd::Function<LogDecay> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, const torch::Tensor& A_log,
                               const torch::Tensor& dt_bias) {
    const auto g = run_log_decay(x, A_log, dt_bias);
    ctx->save_for_backward({x, A_log, dt_bias, g});
    return g;
  }

  static variable_list backward(AutogradContext* ctx, variable_list dgs) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &A_log = saved[1], &dt_bias = saved[2], &g = saved[3];
    const auto dz = -A_log.exp() * (x.to(torch::kFloat32) + dt_bias).sigmoid() * dgs[0];
    const auto over_rows = [&](const torch::Tensor& t) { return t.reshape({-1, A_log.numel()}).sum(0); };
    return {dz.to(x.scalar_type()), over_rows(g * dgs[0]), over_rows(dz)};
  }
};

torch::Tensor run_write_strength(const torch::Tensor& x, double scale) {
  const auto logits = x.to(torch::kFloat32).contiguous();
  auto out = torch::empty_like(logits);
  write_strength_forward(logits.data_ptr<float>(), static_cast<float>(scale), out.data_ptr<float>(), out.numel());
  return out;
}

class WriteStrength : public torch::autograd::Function<WriteStrength> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, double scale) {
    const auto beta = run_write_strength(x, scale);
    ctx->save_for_backward({beta});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["bf16"] = is_bf16(x);
    return beta;
  }

  static variable_list backward(AutogradContext* ctx, variable_list dbetas) {
    const auto beta = ctx->get_saved_variables()[0];
    const auto dx = dbetas[0] * beta * (1 - beta / ctx->saved_data["scale"].toDouble());
    return {dx.to(ctx->saved_data["bf16"].toBool() ? torch::kBFloat16 : torch::kFloat32), {}};
  }
};

}  // namespace

torch::Tensor log_decay(const torch::Tensor& x, const torch::Tensor& A_log, const torch::Tensor& dt_bias) {
  LT2_CHECK(A_log.dim() == 1 && A_log.sizes() == dt_bias.sizes() && x.dim() >= 1 && x.size(-1) == A_log.size(0),
            "log_decay: x [.., N], A_log [N], dt_bias [N]; found x {}, A_log {}, dt_bias {}", c10::str(x.sizes()),
            c10::str(A_log.sizes()), c10::str(dt_bias.sizes()));
  if (!kernel_takes(x) || !kernel_takes_fp32(A_log)) return log_decay_reference(x, A_log, dt_bias);
  if (!needs_gradient({x, A_log, dt_bias})) return run_log_decay(x, A_log, dt_bias);
  return LogDecay::apply(x, A_log, dt_bias);
}

torch::Tensor write_strength(const torch::Tensor& x, double scale) {
  if (!kernel_takes(x)) return write_strength_reference(x, scale);
  return needs_gradient({x}) ? WriteStrength::apply(x, scale) : run_write_strength(x, scale);
}

}  // namespace lt2
