#pragma once
// `retnet`: multi-scale retention. Additive writes, rotated queries and keys, and a decay that is fixed per head:
// 1 - 2^(-5 - h). Source: arXiv 2307.08621.
#include "mixers/linear_mixer.h"

namespace lt2 {

// D model dim, H heads, K key dim = D / H, V value dim = 2 D / H
class Retention : public LinearMixer {
 public:
  explicit Retention(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  int64_t saved_elements_per_token() const override;

  Linear q_proj{nullptr}, k_proj{nullptr};  // [D, D]
  Linear v_proj{nullptr}, g_proj{nullptr};  // [2 D, D]
  Linear o_proj{nullptr};                   // [D, 2 D]
  Norm g_norm_swish_gate{nullptr};          // [V]

 private:
  void initialise_weights(Initialiser& init) override;
  torch::Tensor log_decay_;  // [H] fp32, a buffer, not a parameter
};

}  // namespace lt2
