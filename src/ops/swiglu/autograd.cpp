#include "base/error.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"
#include "ops/swiglu/kernel.h"
#include "ops/swiglu/op.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// As many numbers as a has, of its type.
void* like(const torch::Tensor& a, const torch::Tensor& t, const char* name) {
  return dense_data(t, a.scalar_type(), a.numel(), {"gated product", name});
}

torch::Tensor run_forward(GateActivation act, const torch::Tensor& a, const torch::Tensor& b) {
  auto y = torch::empty_like(a);
  gated_product_forward(act, element_of(a), like(a, a, "a"), like(a, b, "b"), like(a, y, "y"), a.numel());
  return y;
}

class GatedProduct : public torch::autograd::Function<GatedProduct> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& a, const torch::Tensor& b, int64_t act) {
    ctx->save_for_backward({a, b});
    ctx->saved_data["act"] = act;
    return run_forward(static_cast<GateActivation>(act), a, b);
  }

  static variable_list backward(AutogradContext* ctx, variable_list dys) {
    const auto saved = ctx->get_saved_variables();
    const auto &a = saved[0], &b = saved[1];
    const auto dy = dys[0].contiguous();
    auto da = torch::empty_like(a), db = torch::empty_like(b);
    gated_product_backward(static_cast<GateActivation>(ctx->saved_data["act"].toInt()), element_of(a), like(a, a, "a"),
                           like(a, b, "b"), like(a, dy, "gradient of y"), like(a, da, "gradient of a"),
                           like(a, db, "gradient of b"), a.numel());
    return {da, db, {}};
  }
};

torch::Tensor gated_product(GateActivation act, const torch::Tensor& a_any, const torch::Tensor& b_any) {
  const auto a = a_any.contiguous(), b = b_any.contiguous();
  if (!needs_gradient({a, b})) return run_forward(act, a, b);
  return GatedProduct::apply(a, b, static_cast<int64_t>(act));
}

// The kernel walks both by one index.
void check_alike(const char* op, const torch::Tensor& a, const torch::Tensor& b) {
  LT2_CHECK(a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type(),
            "{}: both inputs must have one shape and type; found {} {} and {} {}", op, c10::str(a.sizes()),
            c10::toString(a.scalar_type()), c10::str(b.sizes()), c10::toString(b.scalar_type()));
}

}  // namespace

torch::Tensor swiglu(const torch::Tensor& a, const torch::Tensor& b) {
  check_alike("swiglu", a, b);
  return kernel_takes("swiglu", a) && kernel_takes("swiglu", b) ? gated_product(GateActivation::kSilu, a, b)
                                                                : swiglu_reference(a, b);
}

torch::Tensor sigmoid_gate(const torch::Tensor& x, const torch::Tensor& gate) {
  check_alike("sigmoid_gate", x, gate);
  return kernel_takes("sigmoid_gate", x) && kernel_takes("sigmoid_gate", gate)
             ? gated_product(GateActivation::kSigmoid, gate, x)
             : sigmoid_gate_reference(x, gate);
}

}  // namespace lt2
