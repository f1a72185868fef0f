#pragma once
// The learning rate of a step as a share of optim.lr: warm-up, then one of five schedules.
// Source: Meta Lingua's schedules, quirks included, so that a continued run sees the same rates.
#include <cstdint>

#include "config/train_config.h"

namespace lt2 {

/// f(k) for step k = 0, 1, ... of n = `steps`; w = warmup, m = lr_min_ratio, c = cycle_length. All but constant rise as
/// k / w below w. Then
///   constant   1, also during the warm-up
///   linear     from 1 to m at n
///   inv_sqrt   max(w^exp_factor / k^exp_factor, m)
///   cosine     from 1 to m; with s = (k - w) / (n - w), m + (1 - m) / 2 (1 + sign cos(pi s^cosine_theta / c)), where
///   sign flips every n c
///              steps. At exactly k = n with c = 1 it has flipped: f = 1. A run takes step n only if it is resumed past
///              its end.
///   wsd        1, but in the last decay_fraction of each cycle 1 / (r / m + 1 - r), r from 0 to 1
/// Expects what validate() accepts. Throws lt2::Error for an unknown scheduler.
double lr_factor(int64_t step, int64_t steps, const OptimConfig& optim);

}  // namespace lt2
