#include "train/step.h"

#include <algorithm>
#include <cmath>

#include "train/schedule.h"

namespace lt2 {

StepResult train_step(LoopedTransformer& model, AdamW& optimizer, const OptimConfig& optim, int64_t step, int64_t steps,
                      int64_t micro_steps, const std::function<MicroBatch(int64_t micro)>& next) {
  StepResult result;
  result.lr = optim.lr * lr_factor(step, steps, optim);
  for (int64_t micro = 0; micro < micro_steps; ++micro) {
    const MicroBatch batch = next(micro);
    const auto losses = model.losses(batch.inputs, batch.targets, batch.draw);
    result.micro_losses.push_back(losses.cross_entropy.item<double>());
    if (losses.mixers.defined()) result.mixer_loss += losses.mixers.item<double>() / static_cast<double>(micro_steps);
    result.loss += result.micro_losses.back() / static_cast<double>(micro_steps);
    if (!std::isfinite(result.micro_losses.back())) break;
    (losses.total / static_cast<double>(micro_steps)).backward();
  }
  if (std::isfinite(result.loss)) result.gradient_norm = optimizer.gradient_norm();
  result.applied =
      std::isfinite(result.loss) && std::isfinite(result.mixer_loss) && std::isfinite(result.gradient_norm);
  if (result.applied) optimizer.step(result.lr, std::min(1.0, optim.clip / (result.gradient_norm + 1e-6)));
  optimizer.zero_grad();
  return result;
}

}  // namespace lt2
