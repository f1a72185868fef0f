#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace lt2 {
namespace {

// Python's // on floats: derived from the exact remainder, so it can differ from floor(a / b), which rounds first.
double floor_divide(double a, double b) {
  const double quotient = (a - std::fmod(a, b)) / b;
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

double progress(int64_t step, int64_t steps, const OptimConfig& optim) {
  LT2_CHECK(steps != optim.warmup, "optim.warmup = {} equals steps: scheduler {} has no value at step {}. Raise steps.",
            optim.warmup, optim.scheduler, step);
  return static_cast<double>(step - optim.warmup) / static_cast<double>(steps - optim.warmup);
}

double linear(int64_t step, int64_t steps, const OptimConfig& optim) {
  if (step > steps) return optim.lr_min_ratio;
  const double s = progress(step, steps, optim);
  return s * optim.lr_min_ratio + (1 - s);
}

double inv_sqrt(int64_t step, const OptimConfig& optim) {
  return std::max(std::pow(static_cast<double>(optim.warmup), optim.exp_factor) /
                      std::pow(static_cast<double>(step), optim.exp_factor),
                  optim.lr_min_ratio);
}

double cosine(int64_t step, int64_t steps, const OptimConfig& optim) {
  if (step > steps) return optim.lr_min_ratio;
  const double s = progress(step, steps, optim);
  const double cycle = floor_divide(static_cast<double>(step), static_cast<double>(steps) * optim.cycle_length);
  const double sign = std::fmod(cycle, 2) == 0 ? 1 : -1;
  return optim.lr_min_ratio +
         0.5 * (1 - optim.lr_min_ratio) *
             (sign * std::cos(std::numbers::pi * std::pow(s, optim.cosine_theta) / optim.cycle_length) + 1);
}

[[noreturn]] void unknown(const OptimConfig& optim) {
  fail("optim.scheduler: expected constant, linear, inv_sqrt, cosine or wsd, found \"{}\"", optim.scheduler);
}

int64_t wsd_period(int64_t steps, const OptimConfig& optim) {
  return static_cast<int64_t>(static_cast<double>(steps) * optim.cycle_length);
}

double wsd(int64_t step, int64_t steps, const OptimConfig& optim) {
  const int64_t period = wsd_period(steps, optim);
  int64_t end = period * (step / period + 1);
  const auto tail = static_cast<int64_t>(static_cast<double>(end) * optim.decay_fraction);
  if (step == steps) end = steps;
  if (step <= end - tail) return 1;
  if (step > end) return optim.lr_min_ratio;
  const double r = static_cast<double>(step - (end - tail)) / static_cast<double>(tail);
  return 1 / (r / optim.lr_min_ratio + (1 - r));
}

}  // namespace

double lr_factor(int64_t step, int64_t steps, const OptimConfig& optim) {
  if (optim.scheduler == "constant") return 1;
  if (step < optim.warmup) return static_cast<double>(step) / static_cast<double>(optim.warmup);
  if (optim.scheduler == "linear") return linear(step, steps, optim);
  if (optim.scheduler == "inv_sqrt") return inv_sqrt(step, optim);
  if (optim.scheduler == "cosine") return cosine(step, steps, optim);
  if (optim.scheduler == "wsd") return wsd(step, steps, optim);
  unknown(optim);
}

}  // namespace lt2
