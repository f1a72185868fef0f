#include "train/step.h"

#include <algorithm>
#include <cmath>

#include "train/schedule.h"

namespace lt2 {

StepResult train_step(Replica& replica, const OptimConfig& optim, int64_t step, int64_t steps, int64_t micro_steps,
                      const std::function<MicroBatch(int64_t micro)>& next,
                      const std::function<void(const char* phase)>& on_phase) {
  StepResult result;
  result.lr = optim.lr * lr_factor(step, steps, optim);
  const int world = replica.group().world();
  double mixer_loss = 0;
  replica.begin_step(micro_steps);
  bool given_up = false;
  try {
    for (int64_t micro = 0; micro < micro_steps; ++micro) {
      const MicroBatch batch = next(micro);
      on_phase("forward");
      const auto losses = replica.model().losses(batch.inputs, batch.targets, batch.draw);
      result.micro_losses.push_back(losses.cross_entropy.item<double>());
      if (losses.mixers.defined()) mixer_loss += losses.mixers.item<double>();
      // Several ranks go on together: what is not finite comes out of the exchange as such.
      if (world == 1 && !std::isfinite(result.micro_losses.back())) break;
      on_phase("backward");
      const bool last = micro + 1 == micro_steps;
      replica.begin_backward(last);
      (losses.total / static_cast<double>(micro_steps)).backward();
      if (last && world > 1) on_phase("exchange");
      replica.end_backward(last);
    }
  } catch (const StepGivenUp&) {
    given_up = true;
    replica.give_up_step();
    result.micro_losses.resize(static_cast<size_t>(micro_steps));
  }
  on_phase("optimizer");
  std::vector<double> sums = result.micro_losses;
  sums.push_back(mixer_loss);
  sums.push_back(given_up ? 1 : 0);
  sums = replica.group().sum(sums);
  if (sums.back() > 0) {
    replica.drop_gradients();
    on_phase("");
    result.given_up = true;
    result.applied = false;
    return result;
  }
  sums.pop_back();
  result.mixer_loss = sums.back() / static_cast<double>(micro_steps * world);
  sums.pop_back();
  result.micro_losses.clear();
  for (const double sum : sums) {
    result.micro_losses.push_back(sum / world);
    result.loss += result.micro_losses.back() / static_cast<double>(micro_steps);
  }
  if (std::isfinite(result.loss)) {
    result.unit_norms = replica.gradient_norms();
    double squares = 0;
    for (const auto& [unit, norm] : result.unit_norms) squares += norm * norm;
    result.gradient_norm = std::sqrt(squares);
  }
  result.applied =
      std::isfinite(result.loss) && std::isfinite(result.mixer_loss) && std::isfinite(result.gradient_norm);
  if (result.applied) replica.step(result.lr, std::min(1.0, optim.clip / (result.gradient_norm + 1e-6)));
  replica.drop_gradients();
  on_phase("");
  return result;
}

}  // namespace lt2
