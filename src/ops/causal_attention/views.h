#pragma once
// The kernels' views of tensors, checked against the shape they are told. Shared with selected_attention.
#include "ops/causal_attention/kernel.h"
#include "ops/pointer.h"

namespace lt2 {

/// Shape: AttentionShape or SelectedShape. Rows of channels side by side, at any distance from each other.
template <typename Shape>
struct AttentionViews {
  const char* op;
  torch::ScalarType type;
  const Shape& s;

  template <typename View = AttentionInputView>
  View q(const torch::Tensor& t, const char* name = "q") const {
    return rows_data<View>(t, type, {s.B, s.L, s.H, s.E}, {op, name});
  }
  template <typename View = AttentionInputView>
  View k(const torch::Tensor& t, const char* name = "k") const {
    return rows_data<View>(t, type, {s.B, s.S, s.Hk, s.E}, {op, name});
  }
  template <typename View = AttentionInputView>
  View v(const torch::Tensor& t, const char* name = "v") const {
    return rows_data<View>(t, type, {s.B, s.S, s.Hk, s.Ev}, {op, name});
  }
  template <typename View = AttentionInputView>
  View o(const torch::Tensor& t, const char* name = "o") const {
    return rows_data<View>(t, type, {s.B, s.L, s.H, s.Ev}, {op, name});
  }
  AttentionGradients gradients(const torch::Tensor& dq, const torch::Tensor& dk, const torch::Tensor& dv) const {
    return {q<AttentionOutputView>(dq, "gradient of q"), k<AttentionOutputView>(dk, "gradient of k"),
            v<AttentionOutputView>(dv, "gradient of v")};
  }
  /// Null for an undefined tensor.
  float* lse2(const torch::Tensor& t) const { return dense_data_or_null<float>(t, s.B * s.H * s.L, {op, "lse2"}); }
};

}  // namespace lt2
