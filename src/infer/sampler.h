#pragma once
// From logits to a token.
#include <cstdint>
#include <optional>
#include <vector>

#include "base/random.h"

namespace lt2 {

struct SamplingOptions {
  double temperature = 0;  // 0: greedy, the smaller token on ties
  std::optional<double>
      top_p;  // nucleus: the smallest sorted prefix whose mass before its last token is <= top_p; wins over top_k
  std::optional<int64_t> top_k;  // tokens at least as probable as the k-th; ties stay
};

/// Throws lt2::Error unless temperature >= 0, 0 < top_p <= 1, top_k >= 1.
void validate(const SamplingOptions& options);

/// Same options, seed and logits: same tokens.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, uint64_t seed) : options_(options), random_({seed}) {}
  /// logits fp32 [vocab].
  int32_t next(const float* logits, int64_t vocab);

 private:
  SamplingOptions options_;
  Pcg64 random_;
  std::vector<int32_t> order_;
  std::vector<double> probability_;
};

}  // namespace lt2
