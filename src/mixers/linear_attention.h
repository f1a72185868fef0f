#pragma once
// `la`: linear attention without decay. Queries and keys pass a learned quadratic feature map; a norm takes the place
// of the usual denominator. Source: arXiv 2006.16236 for the idea; the map, sizes and names are those of the reference
// layer that the paper's table uses.
#include "mixers/linear_mixer.h"

namespace lt2 {

/// phi(a) = (W1 a + b1) * (W2 a + b2), one for all heads: `layer1`, `layer2` with `.weight` [K, K] and `.bias` [K].
class FeatureMapImpl : public torch::nn::Module {
 public:
  explicit FeatureMapImpl(int64_t key_dim);
  /// a [.., K] -> [.., K] of the same type; bias and product in fp32.
  torch::Tensor forward(const torch::Tensor& a);
  void initialise(Initialiser& init);

  BiasedLinear layer1{nullptr}, layer2{nullptr};
};
TORCH_MODULE(FeatureMap);

// D model dim, H heads, K = V = D / H
class LinearAttention : public LinearMixer {
 public:
  explicit LinearAttention(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  int64_t saved_elements_per_token() const override;

  Linear q_proj{nullptr}, k_proj{nullptr}, v_proj{nullptr}, o_proj{nullptr};  // [D, D]
  FeatureMap feature_map_q{nullptr}, feature_map_k{nullptr};
  Norm norm{nullptr};  // [V]

 private:
  void initialise_weights(Initialiser& init) override;
  double extra_products() const override;
};

}  // namespace lt2
