#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace lt2 {

void validate(const SamplingOptions& options) {
  LT2_CHECK(options.temperature >= 0 && std::isfinite(options.temperature), "temperature must be >= 0; found {}",
            options.temperature);
  LT2_CHECK(!options.top_p || (*options.top_p > 0 && *options.top_p <= 1), "top_p must be in (0, 1]; found {}",
            *options.top_p);
  LT2_CHECK(!options.top_k || *options.top_k >= 1, "top_k must be >= 1; found {}", *options.top_k);
}

int32_t Sampler::next(const float* logits, int64_t vocab) {
  const auto bad = std::find_if(logits, logits + vocab, [](float x) { return std::isnan(x) || x == INFINITY; });
  LT2_CHECK(
      bad == logits + vocab,
      "generate: the logit of token {} is {}; the checkpoint is damaged or its training diverged. Try an earlier one",
      bad - logits, *bad);
  const float* best = std::max_element(logits, logits + vocab);
  if (options_.temperature == 0) return static_cast<int32_t>(best - logits);

  probability_.resize(static_cast<size_t>(vocab));
  order_.resize(static_cast<size_t>(vocab));
  double sum = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    sum += probability_[static_cast<size_t>(i)] =
        std::exp((static_cast<double>(logits[i]) - *best) / options_.temperature);
  }
  std::iota(order_.begin(), order_.end(), 0);
  const auto more_probable = [&](int32_t a, int32_t b) {
    const double pa = probability_[static_cast<size_t>(a)], pb = probability_[static_cast<size_t>(b)];
    return pa != pb ? pa > pb : a < b;
  };
  size_t kept = order_.size();
  if (options_.top_p) {
    std::sort(order_.begin(), order_.end(), more_probable);
    double before = 0;
    for (kept = 0; kept < order_.size() && before <= *options_.top_p * sum; ++kept)
      before += probability_[static_cast<size_t>(order_[kept])];
  } else if (options_.top_k && *options_.top_k < vocab) {
    const auto k = static_cast<size_t>(*options_.top_k);
    std::sort(order_.begin(), order_.end(), more_probable);
    const double bound = probability_[static_cast<size_t>(order_[k - 1])];
    for (kept = k; kept < order_.size() && probability_[static_cast<size_t>(order_[kept])] == bound;) ++kept;
  }
  double mass = 0;
  for (size_t i = 0; i < kept; ++i) mass += probability_[static_cast<size_t>(order_[i])];
  double left = random_.uniform() * mass;
  for (size_t i = 0; i + 1 < kept; ++i) {
    left -= probability_[static_cast<size_t>(order_[i])];
    if (left < 0) return order_[i];
  }
  return order_[kept - 1];
}

}  // namespace lt2
