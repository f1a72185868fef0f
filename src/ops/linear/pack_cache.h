#pragma once
// The packed copies of one weight and what they were made from.
#include "base/torch.h"
#include "ops/linear/kernel.h"

namespace lt2 {

/// Serves one caller at a time: two threads must not run the same Linear at once while its weight is not yet packed.
struct PackCache {
  /// Panels of `weight` [N, K] fp32 contiguous, packed now if the weight is new or has changed since. A change is seen
  /// by the storage, the address and torch's version counter.
  const Panels& panels(const torch::Tensor& weight, Element element);
  /// Likewise those of linear_pack_backward.
  const Panels& backward_panels(const torch::Tensor& weight);

 private:
  void follow(const torch::Tensor& weight);

  Panels f32_, bf16_, backward_;
  // Weak: keeps the storage's identity from being reused, not its memory.
  c10::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> storage_;
  const void* data_ = nullptr;
  int64_t version_ = 0;
};

}  // namespace lt2
