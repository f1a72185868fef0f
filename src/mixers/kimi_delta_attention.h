#pragma once
// `kda`: Kimi Delta Attention. As `gdn`, but every key channel decays at its own rate, which comes from a low-rank
// projection; the output gate is a sigmoid of another one. Source: arXiv 2510.26692.
#include "mixers/linear_mixer.h"

namespace lt2 {

// D model dim, H heads, K key dim = D / H, V value dim = kda_expand_v K
class KimiDeltaAttention : public LinearMixer {
 public:
  explicit KimiDeltaAttention(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  int64_t saved_elements_per_token() const override;

  Linear q_proj{nullptr}, k_proj{nullptr};           // [H K, D]
  Linear v_proj{nullptr};                            // [H V, D]
  LowRank f_proj{nullptr};                           // [V, D], [H K, V]          logits of the decay
  Linear b_proj{nullptr};                            // [H, D]                    logits of the write strength
  LowRank g_proj{nullptr};                           // [V, D], [H V, V] + [H V]  output gate
  Linear o_proj{nullptr};                            // [D, H V]
  ShortConv1d q_conv1d{nullptr}, k_conv1d{nullptr};  // [H K, 1, 4]
  ShortConv1d v_conv1d{nullptr};                     // [H V, 1, 4]
  Norm o_norm{nullptr};                              // [V]
  torch::Tensor A_log;                               // [H]                       always fp32
  torch::Tensor dt_bias;                             // [H K]                     always fp32

 private:
  void initialise_weights(Initialiser& init) override;
  double norm_eps_;
};

}  // namespace lt2
