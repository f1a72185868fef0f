#include "mixers/init.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

namespace lt2 {

Initialiser::Initialiser(uint64_t seed, double std)
    : base_std(std), generator_(at::make_generator<at::CPUGeneratorImpl>(seed)) {}

void Initialiser::truncated_normal(const torch::Tensor& t, double std, double limit) {
  torch::NoGradGuard no_grad;
  // Inverse CDF: uniform between the two tails, then erfinv. In fp64, because erfinv is steep at the tails.
  const double tail = std::erf(limit / std / std::sqrt(2.0));
  auto u = torch::empty(t.sizes(), torch::kFloat64).uniform_(-tail, tail, generator_);
  t.copy_(u.erfinv_().mul_(std * std::sqrt(2.0)).clamp_(-limit, limit));
}

void Initialiser::uniform(const torch::Tensor& t, double low, double high) {
  torch::NoGradGuard no_grad;
  t.copy_(torch::empty(t.sizes(), torch::kFloat64).uniform_(low, high, generator_));
}

void Initialiser::constant(const torch::Tensor& t, double value) {
  torch::NoGradGuard no_grad;
  t.fill_(value);
}

}  // namespace lt2
