#include "ops/gates/op.h"

namespace lt2 {
namespace {

torch::Tensor at_least_fp32(const torch::Tensor& x) {
  return x.scalar_type() == torch::kFloat64 ? x : x.to(torch::kFloat32);
}

}  // namespace

torch::Tensor log_decay_reference(const torch::Tensor& x, const torch::Tensor& A_log, const torch::Tensor& dt_bias) {
  const auto rate = A_log.exp().unsqueeze(-1).expand({-1, dt_bias.size(0) / A_log.size(0)}).reshape(-1);
  return -rate * torch::softplus(at_least_fp32(x) + dt_bias);
}

torch::Tensor log_sigmoid_reference(const torch::Tensor& x, double divisor, const torch::Tensor& bias) {
  const auto z = bias.defined() ? at_least_fp32(x) + bias : at_least_fp32(x);
  return -torch::softplus(-z) / divisor;
}

torch::Tensor step_size_reference(const torch::Tensor& x, const torch::Tensor& dt_bias) {
  return torch::softplus(at_least_fp32(x) + dt_bias);
}

torch::Tensor write_strength_reference(const torch::Tensor& x, double scale) {
  return scale * at_least_fp32(x).sigmoid();
}

torch::Tensor one_minus_sigmoid_reference(const torch::Tensor& x) {
  return (-at_least_fp32(x)).sigmoid().to(x.scalar_type());
}

torch::Tensor swish_reference(const torch::Tensor& x) { return torch::silu(at_least_fp32(x)).to(x.scalar_type()); }

}  // namespace lt2
