#pragma once
// What a run trains for: what it computes from a batch, and which parameters that moves. An objective knows nothing of
// ranks, micro-steps or the optimizer; train_step and Replica do the same for every objective.
#include <string>
#include <utility>
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

struct MicroBatch {
  torch::Tensor inputs, targets;  // int64 [B, L]
  int64_t draw = 0;               // of random layouts: one a micro-step
};

class Objective {
 public:
  /// Scalars, means over the micro-batch: micro-steps and ranks are averaged.
  struct Loss {
    torch::Tensor total;  // fp32 with its graph: what training descends
    torch::Tensor shown;  // what the run calls its loss (loss/out in metrics.jsonl); undefined: the total
    std::vector<std::pair<std::string, torch::Tensor>> terms =
        {};  // beside it, as loss/NAME; no name twice, none "out"
  };

  virtual ~Objective() = default;

  /// The loss of one micro-batch. Every call on every rank must give the same terms and run the same operations on the
  /// trained parameters, in one order: the ranks' exchanges follow the backward pass. Every total must depend on a
  /// trained parameter. A model that is not `model` (a teacher) runs under torch::NoGradGuard.
  /// May throw StepGivenUp (train/step.h). With full_shard a layer's weights are there only while the model runs it in
  /// a pass of its own.
  virtual Loss loss(LoopedTransformer& model, const MicroBatch& batch) = 0;

  /// What the step's learning rate is multiplied with for the parameter of this official name, >= 0. With 0 it does not
  /// train: it gets no gradient, no weight decay, no moments, and travels between no ranks. Always the same answer.
  virtual double lr_scale(const std::string& name) const;
};

/// Next-token cross entropy plus what mixers add (DSA's indexers: the term "indexer", shown before its weight
/// model.dsa_kl_coef). The run shows the cross entropy. All parameters train at one rate.
class LanguageModelLoss : public Objective {
 public:
  Loss loss(LoopedTransformer& model, const MicroBatch& batch) override;
};

}  // namespace lt2
