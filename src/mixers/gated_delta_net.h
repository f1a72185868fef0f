#pragma once
// `gdn`: Gated DeltaNet. A matrix state per head, scalar decay, delta write; short convolutions before, a gated norm
// after. Source: arXiv 2412.06464; parameter names and initialisation as in the official layer.
#include "mixers/linear_mixer.h"

namespace lt2 {

// D model dim, H heads, K key dim = int(0.75 D) / H (or gdn_head_dim), V value dim = 2 K (or gdn_expand_v K)
class GatedDeltaNet : public LinearMixer {
 public:
  explicit GatedDeltaNet(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  int64_t saved_elements_per_token() const override;

  Linear q_proj{nullptr}, k_proj{nullptr};           // [H K, D]
  Linear v_proj{nullptr}, g_proj{nullptr};           // [H V, D]
  Linear a_proj{nullptr}, b_proj{nullptr};           // [H, D]      logits of decay and write strength
  Linear o_proj{nullptr};                            // [D, H V]
  ShortConv1d q_conv1d{nullptr}, k_conv1d{nullptr};  // [H K, 1, 4]
  ShortConv1d v_conv1d{nullptr};                     // [H V, 1, 4]
  Norm o_norm{nullptr};                              // [V]
  torch::Tensor A_log, dt_bias;                      // [H]         always fp32

 private:
  void initialise_weights(Initialiser& init) override;
  bool allow_neg_eigval_;
};

}  // namespace lt2
