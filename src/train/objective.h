#pragma once
// The objective of a run: the loss that it computes from a batch, and the parameters that it trains. An objective knows
// nothing of ranks, micro-steps or the optimizer; train_step and Replica do the same for every objective.
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
    std::vector<std::pair<std::string, torch::Tensor>> terms = {};  // logged as loss/NAME; no name twice, none "out"
  };

  virtual ~Objective() = default;

  /// The loss of one micro-batch. Every call on every rank must give the same terms and run the same operations on the
  /// trained parameters, in one order: the ranks' exchanges follow the backward pass. Every total must depend on a
  /// trained parameter. A model that is not `model` (a teacher) runs under torch::NoGradGuard.
  /// May throw StepGivenUp (train/step.h). With full_shard a layer's weights exist only while a pass of the model runs
  /// that layer.
  virtual Loss loss(LoopedTransformer& model, const MicroBatch& batch) = 0;

  /// The factor on the step's learning rate for the parameter of this official name, >= 0. With 0 the parameter does
  /// not train: it gets no gradient, no weight decay and no moments, and ranks do not exchange it. Every call must give
  /// the same answer.
  virtual double lr_scale(const std::string& name) const;
};

/// Next-token cross entropy plus what mixers add (DSA's indexers: the term "indexer", shown before its weight
/// model.dsa_kl_coef). The run shows the cross entropy. All parameters train at one rate.
class LanguageModelLoss : public Objective {
 public:
  Loss loss(LoopedTransformer& model, const MicroBatch& batch) override;
};

}  // namespace lt2
