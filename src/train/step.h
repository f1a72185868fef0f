#pragma once
// One optimizer step: micro-batches forward and backward, clip, AdamW.
// Source: the training loop of Meta Lingua, which the official code follows.
#include <cmath>
#include <exception>
#include <functional>
#include <vector>

#include "config/train_config.h"
#include "train/objective.h"
#include "train/replica.h"

namespace lt2 {

/// Thrown out of a forward or backward pass (LoopedTransformer::at_each_layer): this rank gives up the step.
/// A std::exception, because autograd undoes its own counts after those alone: a pass in a recomputed part is a
/// backward pass within another, and torch counts how deep these are.
struct StepGivenUp : std::exception {
  const char* what() const noexcept override { return "the step is given up"; }
};

/// With several ranks the values are those of all ranks together.
struct StepResult {
  double loss = 0;                                    // mean of the micro-losses, which are the objective's `shown`
  std::vector<double> micro_losses;                   // undivided
  std::vector<std::pair<std::string, double>> terms;  // means of the objective's terms, in its order
  double gradient_norm = NAN;                         // before clipping; unknown if the loss is not finite
  std::vector<std::pair<std::string, double>> unit_norms;  // of the gradient, (unit, norm), see Replica
  double lr = 0;
  bool given_up = false;  // by at least one rank: no weight was touched, and no other field is valid
  bool applied = true;    // false: the loss or the norm was not finite, no weight was touched
};

/// Runs step `step` (from 0) of `steps` of the replica's objective: `next(micro)` gives each of this rank's
/// `micro_steps` batches. Gradients are dropped at the end. A rank that gives up takes part in the step's exchanges
/// without computing; at the end of the step the others learn of it, and all ranks skip the step. If a loss, a term or
/// the norm is not finite on any rank, nothing is updated and `applied` is false; the caller decides what to do then.
/// `on_phase`, if given, is called with the phase that begins: "forward", "backward", "exchange" (the part that the
/// backward pass did not hide), "optimizer", "" at the end.
StepResult train_step(
    Replica& replica, const OptimConfig& optim, int64_t step, int64_t steps, int64_t micro_steps,
    const std::function<MicroBatch(int64_t micro)>& next,
    const std::function<void(const char* phase)>& on_phase = [](const char*) {});

}  // namespace lt2
