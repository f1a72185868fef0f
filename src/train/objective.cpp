#include "train/objective.h"

namespace lt2 {

double Objective::lr_scale(const std::string& /*name*/) const { return 1; }

Objective::Loss LanguageModelLoss::loss(LoopedTransformer& model, const MicroBatch& batch) {
  const auto losses = model.losses(batch.inputs, batch.targets, batch.draw);
  Loss out{.total = losses.total, .shown = losses.cross_entropy};
  if (losses.mixers.defined()) out.terms.emplace_back("indexer", losses.mixers);
  return out;
}

}  // namespace lt2
