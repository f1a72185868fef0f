#include "report/spikes.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lt2 {
namespace {

using Window = std::array<double, kSpikeWindow>;

double median(Window values) {
  constexpr auto kHalf = kSpikeWindow / 2;
  static_assert(kSpikeWindow % 2 == 0, "the mean of the middle two");
  std::nth_element(values.begin(), values.begin() + kHalf, values.end());
  return (*std::max_element(values.begin(), values.begin() + kHalf) + values[kHalf]) / 2;
}

}  // namespace

std::vector<LossSpike> find_loss_spikes(const std::map<double, TrainPoint>& train) {
  std::vector<LossSpike> spikes;
  Window before{}, deviations{};
  size_t count = 0;
  bool in_spike = false;
  for (const auto& [step, point] : train) {
    if (!std::isfinite(point.loss)) continue;
    bool spike = false;
    if (count >= before.size()) {
      const double middle = median(before);
      for (size_t i = 0; i < before.size(); ++i) deviations[i] = std::abs(before[i] - middle);
      const double excess = point.loss - middle;
      spike = excess > kSpikeDeviations * median(deviations) && excess > kLeastSpike * std::abs(middle);
      if (spike && !in_spike) {
        spikes.push_back({step, point.loss, middle});
      } else if (spike && point.loss > spikes.back().loss) {
        spikes.back() = {step, point.loss, middle};
      }
    }
    in_spike = spike;
    before[count++ % before.size()] = point.loss;
  }
  return spikes;
}

}  // namespace lt2
