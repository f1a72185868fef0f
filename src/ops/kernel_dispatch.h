#pragma once
// Which calls the CPU kernels serve, and whether autograd has to watch.
#include <initializer_list>

#include "base/error.h"
#include "base/torch.h"
#include "ops/dtype.h"

namespace lt2 {

/// Kernels read CPU tensors of fp32 or bf16; other devices and types of floats run the reference of `op`. Throws
/// lt2::Error for integers: their type would be the result's, which cuts it.
inline bool kernel_takes(const char* op, const torch::Tensor& x) {
  LT2_CHECK(x.is_floating_point(), "{}: computes with floats; found {} {}", op, c10::toString(x.scalar_type()),
            c10::str(x.sizes()));
  return x.device().is_cpu() && (x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16);
}
inline bool kernel_takes_fp32(const torch::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == torch::kFloat32;
}

/// False under NoGradGuard and in inference: the op then skips autograd's bookkeeping (some microseconds a call).
inline bool needs_gradient(std::initializer_list<torch::Tensor> inputs) {
  if (!torch::GradMode::is_enabled()) return false;
  for (const auto& x : inputs) {
    if (x.defined() && x.requires_grad()) return true;
  }
  return false;
}

}  // namespace lt2
