#include "base/error.h"
#include "ops/gates/kernel.h"
#include "ops/gates/op.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Kind = GateActivationKind;
using Optional = torch::optional<Tensor>;  // Function::apply refuses undefined tensors

// factor exp(A_log) act(sign (x + bias))
struct Gate {
  Kind kind;
  double sign, factor;
  bool keeps_type;  // the result has x's type, else fp32
};

// A gate's tensors in the layout of the kernel; they own what the shape points to.
struct Prepared {
  Tensor x, rate, bias;
  torch::ScalarType y_type;
  GateShape shape;

  Prepared(const Gate& gate, const Tensor& x_any, const Tensor& A_log, const Tensor& bias_any)
      : x(x_any.contiguous()),
        bias(bias_any.defined() ? bias_any.contiguous() : bias_any),
        y_type(gate.keeps_type ? x.scalar_type() : torch::kFloat32) {
    const int64_t n = x.dim() > 0 ? x.size(-1) : 1;
    // The copy is needed: a single head expanded over its channels stays one number.
    if (A_log.defined()) rate = A_log.exp().unsqueeze(-1).expand({-1, n / A_log.size(0)}).contiguous().view(-1);
    shape = {x.numel() / n,
             n,
             gate.kind,
             element_of(x),
             element_of(y_type),
             static_cast<float>(gate.sign),
             static_cast<float>(gate.factor),
             dense_data_or_null<float>(rate, n, {"gates", "rate"}),
             dense_data_or_null<float>(bias, n, {"gates", "bias"})};
  }

  void* x_like(const Tensor& t, const char* name) const {
    return dense_data(t, x.scalar_type(), x.numel(), {"gates", name});
  }
  void* y_like(const Tensor& t, const char* name) const { return dense_data(t, y_type, x.numel(), {"gates", name}); }
};

Tensor run(const Gate& gate, const Tensor& x, const Tensor& A_log, const Tensor& bias) {
  const torch::NoGradGuard no_grad;
  const Prepared in(gate, x, A_log, bias);
  auto y = torch::empty(in.x.sizes(), in.x.options().dtype(in.y_type));
  gate_forward(in.shape, in.x_like(in.x, "x"), in.y_like(y, "y"));
  return y;
}

class GateFunction : public torch::autograd::Function<GateFunction> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Optional& A_log, const Optional& bias,
                        int64_t kind, double sign, double factor, bool keeps_type) {
    ctx->save_for_backward({x, A_log.value_or(Tensor()), bias.value_or(Tensor())});
    ctx->saved_data["kind"] = kind;
    ctx->saved_data["sign"] = sign;
    ctx->saved_data["factor"] = factor;
    ctx->saved_data["keeps_type"] = keeps_type;
    // Not needs_input_grad: it counts arguments without the absent ones.
    ctx->saved_data["wants_rate"] = A_log && A_log->requires_grad();
    ctx->saved_data["wants_bias"] = bias && bias->requires_grad();
    return run({static_cast<Kind>(kind), sign, factor, keeps_type}, x, A_log.value_or(Tensor()),
               bias.value_or(Tensor()));
  }

  static variable_list backward(AutogradContext* ctx, variable_list dys) {
    auto& data = ctx->saved_data;
    const auto saved = ctx->get_saved_variables();
    const Tensor &A_log = saved[1], &bias = saved[2];
    const Prepared in({static_cast<Kind>(data["kind"].toInt()), data["sign"].toDouble(), data["factor"].toDouble(),
                       data["keeps_type"].toBool()},
                      saved[0], A_log, bias);
    const auto dy = dys[0].contiguous();
    const auto dx = torch::empty(in.x.sizes(), in.x.options());
    Tensor dlog_rate, dbias;
    if (data["wants_rate"].toBool()) dlog_rate = torch::empty_like(in.rate);
    if (data["wants_bias"].toBool()) dbias = torch::empty_like(in.bias);
    gate_backward(in.shape, in.x_like(in.x, "x"), in.y_like(dy, "dy"), in.x_like(dx, "dx"),
                  dense_data_or_null<float>(dlog_rate, in.shape.n, {"gates", "gradient of A_log"}),
                  dense_data_or_null<float>(dbias, in.shape.n, {"gates", "gradient of the bias"}));
    const auto dA_log = dlog_rate.defined() ? dlog_rate.view({A_log.size(0), -1}).sum(1) : Tensor();
    return {dx, dA_log, dbias, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

bool has_kernel(const Tensor& x, const Tensor& A_log, const Tensor& bias) {
  return kernel_takes("gates", x) && x.numel() > 0 && (!A_log.defined() || kernel_takes_fp32(A_log)) &&
         (!bias.defined() || kernel_takes_fp32(bias));
}

Tensor apply(const Gate& gate, const Tensor& x, const Tensor& A_log, const Tensor& bias) {
  if (!needs_gradient({x, A_log, bias})) return run(gate, x, A_log, bias);
  const auto optional = [](const Tensor& t) { return t.defined() ? Optional(t) : Optional(); };
  return GateFunction::apply(x, optional(A_log), optional(bias), static_cast<int64_t>(gate.kind), gate.sign,
                             gate.factor, gate.keeps_type);
}

void check_bias(const char* op, const Tensor& x, const Tensor& bias) {
  LT2_CHECK(bias.dim() == 1 && x.dim() >= 1 && x.size(-1) == bias.size(0),
            "{}: x must be [.., N] and the bias [N]; found x {}, bias {}", op, c10::str(x.sizes()),
            c10::str(bias.sizes()));
}

}  // namespace

Tensor log_decay(const Tensor& x, const Tensor& A_log, const Tensor& dt_bias) {
  check_bias("log_decay", x, dt_bias);
  LT2_CHECK(A_log.dim() == 1 && A_log.size(0) > 0 && dt_bias.size(0) % A_log.size(0) == 0,
            "log_decay: A_log must be [H] with H dividing the {} channels of x; found {}", dt_bias.size(0),
            c10::str(A_log.sizes()));
  if (!has_kernel(x, A_log, dt_bias)) return log_decay_reference(x, A_log, dt_bias);
  return apply({Kind::kSoftplus, 1, -1, false}, x, A_log, dt_bias);
}

Tensor log_sigmoid(const Tensor& x, double divisor, const Tensor& bias) {
  if (bias.defined()) check_bias("log_sigmoid", x, bias);
  if (!has_kernel(x, {}, bias)) return log_sigmoid_reference(x, divisor, bias);
  return apply({Kind::kSoftplus, -1, -1 / divisor, false}, x, {}, bias);
}

Tensor step_size(const Tensor& x, const Tensor& dt_bias) {
  check_bias("step_size", x, dt_bias);
  if (!has_kernel(x, {}, dt_bias)) return step_size_reference(x, dt_bias);
  return apply({Kind::kSoftplus, 1, 1, false}, x, {}, dt_bias);
}

Tensor write_strength(const Tensor& x, double scale) {
  if (!has_kernel(x, {}, {})) return write_strength_reference(x, scale);
  return apply({Kind::kSigmoid, 1, scale, false}, x, {}, {});
}

Tensor one_minus_sigmoid(const Tensor& x) {
  if (!has_kernel(x, {}, {})) return one_minus_sigmoid_reference(x);
  return apply({Kind::kSigmoid, -1, 1, true}, x, {}, {});
}

Tensor swish(const Tensor& x) {
  if (!has_kernel(x, {}, {})) return swish_reference(x);
  return apply({Kind::kSwish, 1, 1, true}, x, {}, {});
}

}  // namespace lt2
