#pragma once
// The page's sections about training: loss, gradient, speed.
#include <cstdint>
#include <string>

#include "report/run_record.h"

namespace lt2 {

struct Losses {
  double first_step = kAbsent, first = kAbsent, last_step = kAbsent, last = kAbsent;
  int64_t not_finite = 0, count = 0;
  double first_not_finite = kAbsent;
};
Losses summarise_losses(const RunRecord& run);

/// The last value of every source, averaged over sources: one number for a run of any number of them.
ValidationPoint last_validation(const RunRecord& run);

/// Of the finite values, NaN if there are none.
double median_of(const RunRecord& run, double TrainPoint::*field);

/// The loss curve, with its spikes marked.
std::string loss_section(const RunRecord& run);
/// The gradient's norm, of all weights and unit by unit; empty if nothing is known of it.
std::string gradient_section(const RunRecord& run);
/// Tokens per second; likewise.
std::string training_speed_section(const RunRecord& run);

}  // namespace lt2
