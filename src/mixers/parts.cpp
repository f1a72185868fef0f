#include "mixers/parts.h"

#include <cmath>

#include "ops/per_channel/op.h"

namespace lt2 {

torch::Tensor BiasedLinearImpl::forward(const torch::Tensor& x) {
  return per_channel({.x = LinearImpl::forward(x), .bias = bias}, x.scalar_type());
}

LowRankImpl::LowRankImpl(int64_t in, int64_t rank, int64_t out, bool biased) {
  down_ = register_module("0", Linear(in, rank));
  if (biased) {
    biased_up_ = register_module("1", BiasedLinear(rank, out));
    up_ = Linear(std::static_pointer_cast<LinearImpl>(biased_up_.ptr()));
  } else {
    up_ = register_module("1", Linear(rank, out));
  }
}

torch::Tensor LowRankImpl::product(const torch::Tensor& x) { return up_->forward(down_->forward(x)); }

torch::Tensor LowRankImpl::forward(const torch::Tensor& x) {
  return biased_up_ ? biased_up_->forward(down_->forward(x)) : product(x);
}

torch::Tensor LowRankImpl::bias() const { return biased_up_ ? biased_up_->bias : torch::Tensor(); }

void LowRankImpl::initialise(Initialiser& init) {
  init.projection(down_->weight);
  init.projection(up_->weight);
  if (biased_up_) Initialiser::constant(biased_up_->bias, 0);
}

void initialise_convolution(Initialiser& init, const ShortConv1d& conv) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(conv->weight.size(2)));
  init.uniform(conv->weight, -bound, bound);
  if (conv->bias.defined()) init.uniform(conv->bias, -bound, bound);
}

void initialise_decay(Initialiser& init, const torch::Tensor& A_log, const torch::Tensor& dt_bias, double low,
                      double high) {
  const torch::NoGradGuard no_grad;
  auto rate = A_log, delta_logit = dt_bias;
  init.uniform(rate, std::max(low, 1e-6), high);  // above zero, or the log is -inf
  rate.log_();
  init.uniform(delta_logit, std::log(0.001), std::log(0.1));
  const auto delta = delta_logit.exp().clamp_min(1e-4);
  delta_logit.copy_(delta + (-torch::expm1(-delta)).log());
}

}  // namespace lt2
