#pragma once
// Small modules that several mixers use, so that their weights have the official names; and their initialisation.
#include "base/torch.h"
#include "mixers/init.h"
#include "ops/linear/op.h"

namespace lt2 {

/// Depthwise convolution weights under their official name: `q_conv1d.weight` [channels, 1, width], and `.bias`
/// [channels] (undefined without).
class ShortConv1dImpl : public torch::nn::Module {
 public:
  ShortConv1dImpl(int64_t channels, int64_t width, bool with_bias = false) {
    weight = register_parameter("weight", torch::empty({channels, 1, width}));
    if (with_bias) bias = register_parameter("bias", torch::empty({channels}));
  }
  torch::Tensor weight, bias;
};
TORCH_MODULE(ShortConv1d);

/// Norm weights under their official name: `o_norm.weight` [width].
class NormImpl : public torch::nn::Module {
 public:
  explicit NormImpl(int64_t width) { weight = register_parameter("weight", torch::empty({width})); }
  torch::Tensor weight;
};
TORCH_MODULE(Norm);

/// A linear layer with a bias: `.weight` [out, in], `.bias` [out] fp32.
class BiasedLinearImpl : public LinearImpl {
 public:
  BiasedLinearImpl(int64_t in, int64_t out) : LinearImpl(in, out) {
    bias = register_parameter("bias", torch::empty({out}));
  }
  /// x [.., in] -> x W^T + bias [.., out] of the same type; the sum in fp32.
  torch::Tensor forward(const torch::Tensor& x);
  torch::Tensor bias;
};
TORCH_MODULE(BiasedLinear);

/// Two linear layers with a narrow middle and no activation between them: `0.weight` [rank, in], `1.weight` [out, rank]
/// and, if biased, `1.bias` [out].
class LowRankImpl : public torch::nn::Module {
 public:
  LowRankImpl(int64_t in, int64_t rank, int64_t out, bool biased);
  /// x [.., in] -> [.., out], the bias added.
  torch::Tensor forward(const torch::Tensor& x);
  /// The same without the bias, for a caller that adds it in fp32.
  torch::Tensor product(const torch::Tensor& x);
  torch::Tensor bias() const;
  void initialise(Initialiser& init);

 private:
  Linear down_{nullptr}, up_{nullptr};
  BiasedLinear biased_up_{nullptr};  // the same module as up_, if biased
};
TORCH_MODULE(LowRank);

/// Weight and bias uniform in +-1/sqrt(width): a framework's default for depthwise convolutions.
void initialise_convolution(Initialiser& init, const ShortConv1d& conv);
/// A_log: log of uniform(low, high). dt_bias: softplus(dt_bias) is log-uniform in [0.001, 0.1].
void initialise_decay(Initialiser& init, const torch::Tensor& A_log, const torch::Tensor& dt_bias, double low,
                      double high);

}  // namespace lt2
