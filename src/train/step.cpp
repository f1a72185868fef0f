#include "train/step.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/schedule.h"

namespace lt2 {
namespace {

using Terms = std::vector<std::pair<std::string, double>>;

void add_terms(Terms& sums, const Objective::Loss& loss, bool first) {
  if (first) {
    for (const auto& [name, value] : loss.terms) sums.emplace_back(name, 0);
  }
  LT2_CHECK(sums.size() == loss.terms.size(), "the objective gave {} loss terms, and {} for the micro-batch before",
            loss.terms.size(), sums.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    const auto& [name, value] = loss.terms[i];
    LT2_CHECK(name == sums[i].first,
              "the objective's loss term {} is named \"{}\", and \"{}\" for the micro-batch before", i, name,
              sums[i].first);
    sums[i].second += value.item<double>();
  }
}

// All micro-batches of this rank forward and backward. False: this rank has given up the step.
bool accumulate(Replica& replica, int64_t micro_steps, const std::function<MicroBatch(int64_t micro)>& next,
                const std::function<void(const char* phase)>& on_phase, StepResult& result) {
  const int world = replica.group().world();
  replica.begin_step(micro_steps);
  try {
    for (int64_t micro = 0; micro < micro_steps; ++micro) {
      const MicroBatch batch = next(micro);
      on_phase("forward");
      const auto loss = replica.objective().loss(replica.model(), batch);
      result.micro_losses.push_back((loss.shown.defined() ? loss.shown : loss.total).item<double>());
      add_terms(result.terms, loss, micro == 0);
      // Several ranks continue together: a value that is not finite stays so in the exchange.
      if (world == 1 && !std::isfinite(result.micro_losses.back())) break;
      on_phase("backward");
      const bool last = micro + 1 == micro_steps;
      replica.begin_backward(last);
      (loss.total / static_cast<double>(micro_steps)).backward();
      if (last && world > 1) on_phase("exchange");
      replica.end_backward(last);
    }
  } catch (const StepGivenUp&) {
    replica.give_up_step();
    result.micro_losses.resize(static_cast<size_t>(micro_steps));
    return false;
  }
  return true;
}

// Combines the values of all ranks. False: one of them has given up the step.
bool take_means(Group& group, bool complete, int64_t micro_steps, StepResult& result) {
  std::vector<double> sums = result.micro_losses;
  sums.push_back(complete ? 0 : 1);
  sums = group.sum(sums);
  if (sums.back() > 0) return false;
  sums.pop_back();
  result.micro_losses.clear();
  for (const double sum : sums) {
    result.micro_losses.push_back(sum / group.world());
    result.loss += result.micro_losses.back() / static_cast<double>(micro_steps);
  }
  if (result.terms.empty()) return true;
  // Separate from the losses: a rank that has given up may know no terms.
  sums.clear();
  for (const auto& [name, sum] : result.terms) sums.push_back(sum);
  sums = group.sum(sums);
  for (size_t i = 0; i < sums.size(); ++i)
    result.terms[i].second = sums[i] / static_cast<double>(micro_steps * group.world());
  return true;
}

}  // namespace

StepResult train_step(Replica& replica, const OptimConfig& optim, int64_t step, int64_t steps, int64_t micro_steps,
                      const std::function<MicroBatch(int64_t micro)>& next,
                      const std::function<void(const char* phase)>& on_phase) {
  StepResult result;
  result.lr = optim.lr * lr_factor(step, steps, optim);
  const bool complete = accumulate(replica, micro_steps, next, on_phase, result);
  on_phase("optimizer");
  if (!take_means(replica.group(), complete, micro_steps, result)) {
    replica.drop_gradients();
    on_phase("");
    result.given_up = true;
    result.applied = false;
    return result;
  }
  if (std::isfinite(result.loss)) {
    result.unit_norms = replica.gradient_norms();
    double squares = 0;
    for (const auto& [unit, norm] : result.unit_norms) squares += norm * norm;
    result.gradient_norm = std::sqrt(squares);
  }
  const bool terms_finite = std::all_of(result.terms.begin(), result.terms.end(),
                                        [](const auto& term) { return std::isfinite(term.second); });
  result.applied = std::isfinite(result.loss) && terms_finite && std::isfinite(result.gradient_norm);
  if (result.applied) replica.step(result.lr, std::min(1.0, optim.clip / (result.gradient_norm + 1e-6)));
  replica.drop_gradients();
  on_phase("");
  return result;
}

}  // namespace lt2
