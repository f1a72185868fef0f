#pragma once
// `deltanet`: the delta rule without decay and without output gate. Source: arXiv 2406.06484.
#include "mixers/linear_mixer.h"

namespace lt2 {

// D model dim, H heads, K = V = D / H
class DeltaNet : public LinearMixer {
 public:
  explicit DeltaNet(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  int64_t saved_elements_per_token() const override;

  Linear q_proj{nullptr}, k_proj{nullptr}, v_proj{nullptr}, o_proj{nullptr};  // [D, D]
  Linear b_proj{nullptr};                                                     // [H, D]  logits of the write strength
  ShortConv1d q_conv1d{nullptr}, k_conv1d{nullptr}, v_conv1d{nullptr};        // [D, 1, 4]
  Norm o_norm{nullptr};                                                       // [V]

 private:
  void initialise_weights(Initialiser& init) override;
  double norm_eps_;
};

}  // namespace lt2
