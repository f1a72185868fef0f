#include "base/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace lt2 {
namespace {

// `sorted` has at least one number.
double quantile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const double rest = at - static_cast<double>(below);
  return rest > 0 ? sorted[below] + rest * (sorted[below + 1] - sorted[below]) : sorted[below];
}

bool any_noise(const std::vector<std::vector<double>>& samples) {
  return std::any_of(samples.begin(), samples.end(), [&](const auto& of_one) {
    return spread_of(of_one).noisy() || paired_ratio(of_one, samples.front()).noisy();
  });
}

}  // namespace

Spread spread_of(std::vector<double> samples) {
  constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
  const bool finite = std::all_of(samples.begin(), samples.end(), [](double v) { return std::isfinite(v); });
  if (samples.empty() || !finite) return {kNothing, kNothing, kNothing, samples.size()};
  std::sort(samples.begin(), samples.end());
  return {quantile(samples, 0.5), quantile(samples, 0.25), quantile(samples, 0.75), samples.size()};
}

Spread paired_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  LT2_CHECK(a.size() == b.size(), "paired_ratio: {} samples against {}", a.size(), b.size());
  std::vector<double> ratios;
  for (size_t i = 0; i < a.size(); ++i) ratios.push_back(a[i] / b[i]);
  return spread_of(std::move(ratios));
}

std::vector<std::vector<double>> run_in_turns(const std::vector<TimedRun>& runs, const TurnsBudget& budget) {
  std::vector<std::vector<double>> samples(runs.size());
  double spent = 0;
  for (size_t round = 0; !runs.empty() && round < budget.most; ++round) {
    if (round >= budget.least && (spent >= budget.seconds || (spent >= budget.seconds / 2 && !any_noise(samples))))
      break;
    for (size_t i = 0; i < runs.size(); ++i) {
      samples[i].push_back(runs[i]());
      spent += samples[i].back();
    }
  }
  return samples;
}

}  // namespace lt2
