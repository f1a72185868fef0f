#pragma once
// `hgrn2`: a gated linear RNN whose forget gate also gives its key: a channel writes as much as it forgets. Additive
// writes, decay per key channel. Source: arXiv 2404.07904.
#include "mixers/linear_mixer.h"

namespace lt2 {

// D model dim, H heads, K = V = D / H, W = hgrn2_conv_size
class Hgrn2 : public LinearMixer {
 public:
  explicit Hgrn2(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  int64_t saved_elements_per_token() const override;

  Linear q_proj{nullptr}, f_proj{nullptr}, i_proj{nullptr}, o_proj{nullptr};  // [D, D]
  ShortConv1d q_conv1d{nullptr}, f_conv1d{nullptr}, i_conv1d{nullptr};        // [D, 1, W], with hgrn2_use_short_conv
  Norm g_norm{nullptr};                                                       // [D], over the whole row

 private:
  void initialise_weights(Initialiser& init) override;
};

}  // namespace lt2
