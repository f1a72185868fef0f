#pragma once
// `gla`: gated linear attention. Additive writes, decay per key channel from a low-rank projection. Source: arXiv
// 2312.06635; sizes and names are those of its reference layer, because the official pattern has no such type.
#include "mixers/linear_mixer.h"

namespace lt2 {

// D model dim, H heads, K key dim = D / (2 H), V value dim = D / H
class GatedLinearAttention : public LinearMixer {
 public:
  explicit GatedLinearAttention(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  int64_t saved_elements_per_token() const override;

  Linear q_proj{nullptr}, k_proj{nullptr};                   // [D / 2, D]
  Linear v_proj{nullptr}, g_proj{nullptr}, o_proj{nullptr};  // [D, D]
  LowRank gk_proj{nullptr};                                  // [16, D], [D / 2, 16] + [D / 2]  logits of the decay
  Norm g_norm_swish_gate{nullptr};                           // [V]

 private:
  void initialise_weights(Initialiser& init) override;
};

}  // namespace lt2
