#include "ops/swiglu/op.h"

namespace lt2 {

torch::Tensor swiglu_reference(const torch::Tensor& a, const torch::Tensor& b) { return torch::silu(a) * b; }

torch::Tensor sigmoid_gate_reference(const torch::Tensor& x, const torch::Tensor& gate) {
  return x * torch::sigmoid(gate);
}

}  // namespace lt2
