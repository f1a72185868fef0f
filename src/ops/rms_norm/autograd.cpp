#include "base/error.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"
#include "ops/rms_norm/kernel.h"
#include "ops/rms_norm/op.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kL2Eps = 1e-6;

// `weight` undefined: l2_norm.
NormRows rows_of(const torch::Tensor& x, const torch::Tensor& weight, double eps) {
  const int64_t width = x.size(-1);
  const float* w = dense_data_or_null<float>(weight, width, {"rms_norm", "weight"});
  return {x.numel() / width, width, w ? 1.0f / static_cast<float>(width) : 1.0f, static_cast<float>(eps), w};
}

// As many numbers as x has, of the given type.
void* like(const torch::Tensor& x, const torch::Tensor& t, torch::ScalarType type, const char* name) {
  return dense_data(t, type, x.numel(), {"rms_norm", name});
}
NormInput input(const torch::Tensor& x, const torch::Tensor& t, const char* name) {
  return {like(x, t, t.scalar_type(), name), element_of(t)};
}
NormOutput output(const torch::Tensor& x, const torch::Tensor& t, const char* name) {
  return {like(x, t, t.scalar_type(), name), element_of(t)};
}
float* inverse_data(const NormRows& norm, const torch::Tensor& inverse) {
  return dense_data_or_null<float>(inverse, norm.rows, {"rms_norm", "inverse"});
}
float* dweight_data(const NormRows& norm, const torch::Tensor& dweight) {
  return dense_data_or_null<float>(dweight, norm.width, {"rms_norm", "gradient of weight"});
}

torch::Tensor new_inverse(const NormRows& norm) { return torch::empty({norm.rows}, torch::kFloat32); }

torch::Tensor run_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps, torch::ScalarType out,
                       torch::Tensor* inverse) {
  const auto norm = rows_of(x, weight, eps);
  auto y = torch::empty(x.sizes(), x.options().dtype(out).requires_grad(false));
  if (inverse) *inverse = new_inverse(norm);
  norm_forward(norm, input(x, x, "x"), output(x, y, "y"), inverse ? inverse_data(norm, *inverse) : nullptr);
  return y;
}

torch::Tensor run_gated(const torch::Tensor& x, const torch::Tensor& gate, const torch::Tensor& weight, double eps,
                        torch::Tensor* inverse) {
  const auto norm = rows_of(x, weight, eps);
  auto y = torch::empty_like(x);
  if (inverse) *inverse = new_inverse(norm);
  const auto type = x.scalar_type();
  norm_gate_forward(norm, element_of(x), like(x, x, type, "x"), like(x, gate, type, "gate"), like(x, y, type, "y"),
                    inverse ? inverse_data(norm, *inverse) : nullptr);
  return y;
}

class Norm : public torch::autograd::Function<Norm> {
 public:
  // No weight: l2_norm. Function::apply refuses undefined tensors, hence optional.
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x,
                               const torch::optional<torch::Tensor>& weight_or_none, double eps, int64_t out) {
    const auto weight = weight_or_none.value_or(torch::Tensor());
    torch::Tensor inverse;
    auto y = run_norm(x, weight, eps, static_cast<torch::ScalarType>(out), &inverse);
    ctx->save_for_backward({x, weight, inverse});
    ctx->saved_data["eps"] = eps;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list dys) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &inverse = saved[2];
    const auto dy = dys[0].contiguous();
    auto dx = torch::empty_like(x);
    torch::Tensor dweight;
    if (weight.defined() && ctx->needs_input_grad(1)) dweight = torch::empty_like(weight);
    const auto norm = rows_of(x, weight, ctx->saved_data["eps"].toDouble());
    norm_backward(norm, input(x, x, "x"), input(x, dy, "gradient of y"), inverse_data(norm, inverse),
                  output(x, dx, "gradient of x"), dweight_data(norm, dweight));
    return {dx, dweight, {}, {}};
  }
};

class GatedNorm : public torch::autograd::Function<GatedNorm> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, const torch::Tensor& gate,
                               const torch::Tensor& weight, double eps) {
    torch::Tensor inverse;
    auto y = run_gated(x, gate, weight, eps, &inverse);
    ctx->save_for_backward({x, gate, weight, inverse});
    ctx->saved_data["eps"] = eps;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list dys) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &gate = saved[1], &weight = saved[2], &inverse = saved[3];
    const auto dy = dys[0].contiguous();
    auto dx = torch::empty_like(x), dgate = torch::empty_like(gate);
    torch::Tensor dweight;
    if (ctx->needs_input_grad(2)) dweight = torch::empty_like(weight);
    const auto norm = rows_of(x, weight, ctx->saved_data["eps"].toDouble());
    const auto type = x.scalar_type();
    norm_gate_backward(norm, element_of(x), like(x, x, type, "x"), like(x, gate, type, "gate"),
                       like(x, dy, type, "gradient of y"), inverse_data(norm, inverse),
                       like(x, dx, type, "gradient of x"), like(x, dgate, type, "gradient of gate"),
                       dweight_data(norm, dweight));
    return {dx, dgate, dweight, {}};
  }
};

bool has_rows(const torch::Tensor& x) { return kernel_takes("rms_norm", x) && x.dim() > 0 && x.numel() > 0; }

void check_weight(const char* op, const torch::Tensor& x, const torch::Tensor& weight) {
  LT2_CHECK(weight.dim() == 1 && x.dim() >= 1 && x.size(-1) == weight.size(0),
            "{}: weight {} does not fit the last axis of x {}", op, c10::str(weight.sizes()), c10::str(x.sizes()));
}

}  // namespace

torch::Tensor rms_norm(const torch::Tensor& x_any, const torch::Tensor& weight_any, double eps, torch::ScalarType out) {
  check_weight("rms_norm", x_any, weight_any);
  const bool kernel_out = out == torch::kFloat32 || out == torch::kBFloat16;
  if (!has_rows(x_any) || !kernel_takes_fp32(weight_any) || !kernel_out) {
    return rms_norm_reference(x_any, weight_any, eps, out);
  }
  const auto x = x_any.contiguous(), weight = weight_any.contiguous();
  if (!needs_gradient({x, weight})) return run_norm(x, weight, eps, out, nullptr);
  return Norm::apply(x, torch::optional<torch::Tensor>(weight), eps, static_cast<int64_t>(out));
}

torch::Tensor rms_norm_silu_gate(const torch::Tensor& x_any, const torch::Tensor& gate_any,
                                 const torch::Tensor& weight_any, double eps) {
  check_weight("rms_norm_silu_gate", x_any, weight_any);
  LT2_CHECK(x_any.numel() == gate_any.numel(), "rms_norm_silu_gate: gate {} must have as many elements as x {}",
            c10::str(gate_any.sizes()), c10::str(x_any.sizes()));
  if (!has_rows(x_any) || !kernel_takes("rms_norm", gate_any) || !kernel_takes_fp32(weight_any)) {
    return rms_norm_silu_gate_reference(x_any, gate_any, weight_any, eps);
  }
  const auto x = x_any.contiguous(), weight = weight_any.contiguous();
  const auto gate = gate_any.to(x.scalar_type()).reshape(x.sizes()).contiguous();
  if (!needs_gradient({x, gate, weight})) return run_gated(x, gate, weight, eps, nullptr);
  return GatedNorm::apply(x, gate, weight, eps);
}

torch::Tensor l2_norm(const torch::Tensor& x_any) {
  if (!has_rows(x_any)) return l2_norm_reference(x_any);
  const auto x = x_any.contiguous();
  if (!needs_gradient({x})) return run_norm(x, {}, kL2Eps, x.scalar_type(), nullptr);
  return Norm::apply(x, torch::optional<torch::Tensor>(), kL2Eps, static_cast<int64_t>(x.scalar_type()));
}

}  // namespace lt2
