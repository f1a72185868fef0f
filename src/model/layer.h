#pragma once
// One shared layer: h = h + mixer(norm(h)); h = h + ffn(norm(h)). In `ouro` models both outputs are normed before they
// are added.
#include <functional>

#include "config/patterns.h"
#include "mixers/mixer.h"
#include "mixers/parts.h"
#include "ops/linear/op.h"

namespace lt2 {

/// w2( silu(w1 x) * w3 x ); F = ffn_hidden_dim(config).
class FeedForwardImpl : public torch::nn::Module {
 public:
  FeedForwardImpl(int64_t dim, int64_t hidden);
  /// x [.., D] normed; returns residual + ffn(x), fp32.
  torch::Tensor forward_add(const torch::Tensor& x, const torch::Tensor& residual);
  /// ffn(x), of x's type.
  torch::Tensor forward(const torch::Tensor& x);

  Linear w1{nullptr}, w3{nullptr};  // [F, D]
  Linear w2{nullptr};               // [D, F]
};
TORCH_MODULE(FeedForward);

class LayerImpl : public torch::nn::Module {
 public:
  LayerImpl(const std::string& mixer_type, const ModelConfig& config);
  /// Called with the mixer's input, and with its output before that is added; either may be empty.
  struct Listeners {
    std::function<void(const torch::Tensor&x)> mixer_in, mixer_out;
  };
  /// h [B, L, D] fp32, the residual stream -> the same after this layer. `compute`: type of the products.
  torch::Tensor forward(const torch::Tensor& h, MixerCall call, torch::ScalarType compute, const Listeners& listeners);
  void initialise(Initialiser& init, const ModelConfig& config);
  /// The window that the mixer gets if the attention pattern gives this layer `of_pattern`: the same, or none if mixers
  /// of this type see no windows.
  std::optional<int64_t> window(std::optional<int64_t> of_pattern) const {
    return sees_windows(type) ? of_pattern : std::nullopt;
  }

  std::string type;              // "full", "gdn", ...
  std::shared_ptr<Mixer> mixer;  // official name: attention
  FeedForward feed_forward{nullptr};
  Norm attention_norm{nullptr}, ffn_norm{nullptr};      // [D]
  Norm attention_norm_2{nullptr}, ffn_norm_2{nullptr};  // [D] after mixer and FFN; `ouro` only

 private:
  double eps_;
};
TORCH_MODULE(Layer);

}  // namespace lt2
