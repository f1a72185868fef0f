#pragma once
// Log lines at which the loss jumped.
#include <vector>

#include "report/run_record.h"

namespace lt2 {

struct LossSpike {
  double step = kAbsent, loss = kAbsent;
  double before = kAbsent;  // median of the losses before it
};

inline constexpr int kSpikeWindow = 20;        // finite losses before the line, as many as must be there
inline constexpr double kSpikeDeviations = 4;  // above their median by more than this times their median
inline constexpr double kLeastSpike = 0.02;    // absolute deviation, and by more than this share of it

/// In order of steps. Of lines in a row that all are spikes the highest counts.
std::vector<LossSpike> find_loss_spikes(const std::map<double, TrainPoint>& train);

}  // namespace lt2
