#pragma once
// What inference needs in memory, known before it runs.
#include "model/looped_transformer.h"

namespace lt2 {

/// All in bytes.
struct MemoryPlan {
  int64_t weights = 0;  // as the model holds them, packed copies included
  int64_t scratch = 0;  // of one pass: activations and logits
  int64_t budget = 0;   // for weights, scratch, states and prefixes together

  /// What states and prefixes may take.
  int64_t for_states() const { return budget - weights - scratch; }
};

/// `rows`: tokens of the largest pass; `outputs`: of these, tokens whose logits are wanted. Throws lt2::Error with the
/// numbers if the budget leaves nothing for states.
MemoryPlan plan_memory(const LoopedTransformer& model, int64_t budget, int64_t rows, int64_t outputs);

/// Bytes of one sequence that may reach `tokens` tokens, as its buffers are allocated; `rewinds`: with what mark()
/// keeps for up to `rewinds` tokens.
int64_t sequence_bytes(const LoopedTransformer& model, int64_t tokens, int64_t rewinds);

/// Bytes of the weights as they lie in memory now, or will after the first pass.
int64_t held_weight_bytes(const LoopedTransformer& model);

/// Bytes of memory that this machine can still give (MemAvailable, or the cgroup's limit if that is less).
int64_t available_memory();

}  // namespace lt2
