#include "ops/rms_norm/op.h"

namespace lt2 {
namespace {

// bf16 computes in fp32, fp64 stays.
torch::ScalarType wide(const torch::Tensor& x) {
  return x.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

torch::Tensor normed(const torch::Tensor& x, const torch::Tensor& weight, double eps) {
  const auto v = x.to(wide(x));
  return v * (v.square().mean(-1, /*keepdim=*/true) + eps).rsqrt() * weight.to(v.scalar_type());
}

}  // namespace

torch::Tensor rms_norm_reference(const torch::Tensor& x, const torch::Tensor& weight, double eps,
                                 torch::ScalarType out) {
  return normed(x, weight, eps).to(out);
}

torch::Tensor rms_norm_silu_gate_reference(const torch::Tensor& x, const torch::Tensor& gate,
                                           const torch::Tensor& weight, double eps) {
  const auto n = normed(x, weight, eps);
  return (n * torch::silu(gate.to(n.scalar_type()).reshape(x.sizes()))).to(x.scalar_type());
}

torch::Tensor l2_norm_reference(const torch::Tensor& x) {
  const auto v = x.to(wide(x));
  return (v * (v.square().sum(-1, /*keepdim=*/true) + 1e-6).rsqrt()).to(x.scalar_type());
}

}  // namespace lt2
