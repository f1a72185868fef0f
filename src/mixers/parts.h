#pragma once
// Small modules that several mixers have, so that their weights carry the official names.
#include "base/torch.h"

namespace lt2 {

/// Depthwise convolution weights under their official name: `q_conv1d.weight` [channels, 1, width].
class ShortConv1dImpl : public torch::nn::Module {
 public:
  ShortConv1dImpl(int64_t channels, int64_t width) {
    weight = register_parameter("weight", torch::empty({channels, 1, width}));
  }
  torch::Tensor weight;
};
TORCH_MODULE(ShortConv1d);

/// Norm weights under their official name: `o_norm.weight` [width].
class NormImpl : public torch::nn::Module {
 public:
  explicit NormImpl(int64_t width) { weight = register_parameter("weight", torch::empty({width})); }
  torch::Tensor weight;
};
TORCH_MODULE(Norm);

}  // namespace lt2
