#pragma once
// `mamba2`: a state space model as additive recurrence with scalar decay. One projection gives all inputs; all heads
// share its keys B and queries C, and one step size per head scales both the write and the decay. Source: arXiv
// 2405.21060.
#include "mixers/linear_mixer.h"

namespace lt2 {

// D model dim, I inner = mamba2_expand D, H heads, K key dim N = mamba2_d_state, V value dim = I / H,
// W = mamba2_d_conv
class Mamba2 : public LinearMixer {
 public:
  explicit Mamba2(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  int64_t saved_elements_per_token() const override;

  Linear in_proj{nullptr};          // [2 I + 2 N + H, D]  gate z, then x, B, C for the convolution, then step logits
  ShortConv1d conv1d{nullptr};      // [I + 2 N, 1, W] and its bias
  Norm norm{nullptr};               // [I]
  Linear out_proj{nullptr};         // [D, I]
  torch::Tensor A_log, dt_bias, D;  // [H]                 always fp32

 private:
  void initialise_weights(Initialiser& init) override;
  int64_t inner_;
  double norm_eps_;
};

}  // namespace lt2
