#pragma once
// The steps of a run: reads batches, changes the weights and keeps the counts.
#include <string>

#include "config/train_config.h"
#include "data/loader.h"
#include "train/checkpoint.h"
#include "train/replica.h"
#include "train/step.h"
#include "train/stop_watch.h"
#include "train/trace.h"

namespace lt2 {

/// View `v` of a batch as int64 [rows, seq_len].
torch::Tensor view_of(const Batch& batch, int64_t v, torch::Device device);

class StepLoop {
 public:
  /// Continues from `state`; the loader has its position already. All arguments but `state` must outlive the loop.
  StepLoop(const TrainConfig& config, TrainState state, Replica& replica, Loader& loader, StopWatch& stop,
           StepTracer& tracer);

  /// One step. False: a signal to any rank or a file that failed ended it early, and it counts on no rank. Throws
  /// Diverged when a loss, a term or the gradient is not finite and optim.nan_policy is stop, or is skip and kMostSkips
  /// steps in a row were skipped.
  bool take();
  static constexpr int64_t kMostSkips = 10;

  struct Last {
    StepResult result;
    double seconds = 0;       // the whole step
    double data_seconds = 0;  // of them, waiting for data
  };
  /// The last whole step of this process; seconds is 0 before.
  const Last& last() const { return last_; }

  int64_t step() const { return state_.step; }
  bool finished() const { return state_.step >= config_.steps; }
  /// The counts after the last whole step, without the loaders' positions.
  const TrainState& state() const { return state_; }
  /// The position of this rank's loader after the last whole step.
  const std::string& position() const { return position_; }
  /// Of all ranks and micro-steps.
  int64_t tokens_per_step() const;

 private:
  MicroBatch load_batch();
  void look_for_divergence();

  const TrainConfig& config_;
  Replica& replica_;
  Loader& loader_;
  StopWatch& stop_;
  StepTracer& tracer_;
  TrainState state_;
  std::string position_;
  Last last_;
  double data_seconds_ = 0;  // of the step under way
  int64_t skips_in_a_row_ = 0;
};

}  // namespace lt2
