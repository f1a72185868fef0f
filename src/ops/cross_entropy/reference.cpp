#include "ops/cross_entropy/op.h"

namespace lt2 {

torch::Tensor linear_cross_entropy_reference(const torch::Tensor& h, const torch::Tensor& weight,
                                             const torch::Tensor& targets) {
  const auto logits = torch::linear(h.reshape({-1, h.size(-1)}), weight.to(h.scalar_type()));  // [rows, V]
  const auto wide = logits.scalar_type() == torch::kFloat64 ? logits : logits.to(torch::kFloat32);
  return torch::nll_loss(torch::log_softmax(wide, -1), targets.reshape({-1}));
}

}  // namespace lt2
