#include "base/error.h"
#include "ops/fan_out/kernel.h"
#include "ops/fan_out/op.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class FanOut : public torch::autograd::Function<FanOut> {
 public:
  static variable_list forward(AutogradContext* ctx, const torch::Tensor& x, int64_t readers) {
    ctx->set_materialize_grads(false);
    variable_list same;
    for (int64_t i = 0; i < readers; ++i) same.push_back(x.detach());
    return same;
  }

  static variable_list backward(AutogradContext*, variable_list gradients) {
    LT2_CHECK(!torch::GradMode::is_enabled(),
              "fan_out: its gradient is not differentiable again; call backward with create_graph = false");
    variable_list parts;  // of the readers that had one
    for (const auto& gradient : gradients) {
      if (gradient.defined()) parts.push_back(gradient.contiguous());
    }
    if (parts.empty()) return {{}, {}};
    if (parts.size() == 1) return {parts[0], {}};
    const auto& first = parts[0];
    std::vector<const void*> arrays;
    for (const auto& part : parts) {
      arrays.push_back(dense_data(part, first.scalar_type(), first.numel(), {"fan_out", "gradient"}));
    }
    auto sum = torch::empty_like(first);
    sum_arrays(element_of(first), arrays.data(), static_cast<int64_t>(arrays.size()),
               dense_data(sum, first.scalar_type(), first.numel(), {"fan_out", "sum"}), first.numel());
    return {sum, {}};
  }
};

}  // namespace

std::vector<torch::Tensor> fan_out(const torch::Tensor& x, int64_t readers) {
  if (!kernel_takes("fan_out", x) || !needs_gradient({x}) || readers < 2)
    return std::vector<torch::Tensor>(static_cast<size_t>(readers), x);
  return FanOut::apply(x, readers);
}

}  // namespace lt2
