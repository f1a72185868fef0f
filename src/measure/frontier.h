#pragma once
// The out-of-memory frontier: the largest context that fits a memory, computed from the sizes of the parts, then tried.
#include <optional>
#include <string>
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

/// The memory to serve `batch` sequences: prompts are read one at a time in chunks, and all sequences decode together.
struct ServingMemory {
  int64_t weights = 0, states = 0, scratch = 0;
  int64_t total() const { return weights + states + scratch; }
};
ServingMemory serving_memory(const LoopedTransformer& model, int64_t context, int64_t batch);

/// Frontiers are multiples of this many tokens.
inline constexpr int64_t kContextStep = 64;
/// A state that fits with this context fits with any.
inline constexpr int64_t kEndlessContext = int64_t{1} << 30;

/// The largest context (a multiple of kContextStep) with which serving_memory is at most `memory`; 0 if no context
/// fits, kEndlessContext if memory sets no limit.
int64_t largest_context(const LoopedTransformer& model, int64_t batch, int64_t memory);

/// One row of `lt2 bench frontier=`.
struct FrontierRow {
  std::string shape, model;
  int64_t batch = 1;
  std::string dtype;
  int64_t memory = 0;                              // asked for
  int64_t context = 0;                             // see largest_context
  ServingMemory needs;                             // with this context
  int64_t refused_context = 0, refused_bytes = 0;  // a tenth more context, which does not fit; 0 if endless
  // The trial: a state of `tried_context` tokens was allocated and filled, and a token was decoded.
  bool tried = false;
  int64_t tried_context = 0;
  int64_t tried_states = 0;    // bytes it should take
  int64_t resident_bytes = 0;  // memory of the process grew by this much
  double step_s = 0;
  std::string not_tried;  // why

  bool endless() const { return context == kEndlessContext; }
};

FrontierRow compute_frontier(const LoopedTransformer& model, int64_t batch, int64_t memory);

/// Tries `row` with the model it was computed for, whose weights are in memory, in at most `here` further bytes: at the
/// computed context if that fits, else with `shrink` at the largest context that does. Throws lt2::Error if the trial
/// needs more than the plan says.
void try_frontier(LoopedTransformer& model, FrontierRow& row, int64_t here, bool shrink);

/// {"kind":"frontier","shape":...}
std::string to_json(const FrontierRow& row);

}  // namespace lt2
