#pragma once
// The loss of quality from a cheaper form of a model's weights.
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

struct Quality {
  int64_t tokens = 0;            // predicted
  double reference_loss = 0;     // mean cross entropy of the reference, nats
  double loss = 0;               // of the model
  double divergence = 0;         // mean KL(reference || model), nats
  double same_first_choice = 0;  // share of positions at which the same token is the likeliest of both
  double reference_perplexity() const;
  double perplexity() const;
};

/// Runs both over `tokens`, in windows of `window` tokens that start from an empty state. The models share a
/// vocabulary.
Quality compare_quality(LoopedTransformer& reference, LoopedTransformer& model, const std::vector<int32_t>& tokens,
                        int64_t window);

}  // namespace lt2
