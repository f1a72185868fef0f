#include "ops/decay_gate/op.h"

namespace lt2 {
namespace {

torch::Tensor at_least_fp32(const torch::Tensor& x) {
  return x.scalar_type() == torch::kFloat64 ? x : x.to(torch::kFloat32);
}

}  // namespace

torch::Tensor log_decay_reference(const torch::Tensor& x, const torch::Tensor& A_log, const torch::Tensor& dt_bias) {
  return -A_log.exp() * torch::softplus(at_least_fp32(x) + dt_bias);
}

torch::Tensor write_strength_reference(const torch::Tensor& x, double scale) {
  return scale * at_least_fp32(x).sigmoid();
}

}  // namespace lt2
