#pragma once
// A training run from a validated configuration: its parts, one file each, and their order.
//
//   RunFiles        the folders and their locks            StepLoop    batches, steps, counts
//   RunCheckpoints  where weights are read and saved       Validator   the loss on other text
//   RunLog          metrics, events, progress              RunSamples  text before and after
//   StopWatch       signals and files that fail            StepTracer  where the time goes
#include <functional>
#include <memory>

#include "config/train_config.h"
#include "data/loader.h"
#include "model/looped_transformer.h"
#include "tokenizer/tokenizer.h"
#include "train/objective.h"
#include "train/replica.h"
#include "train/run_checkpoints.h"
#include "train/run_files.h"
#include "train/run_log.h"
#include "train/run_samples.h"
#include "train/step_loop.h"
#include "train/stop_watch.h"
#include "train/trace.h"
#include "train/validator.h"

namespace lt2 {

class Trainer {
 public:
  /// Builds everything and resumes from the newest sound checkpoint of the dump directory. `config` must be validated.
  /// Throws lt2::Error if there are checkpoints but no sound one, if the weights were trained as another model
  /// (train/resume.h), and if another process trains in the directory; the run's files are then as they were.
  /// `group`: the ranks that train together, each with the same configuration and objective.
  explicit Trainer(TrainConfig config, std::shared_ptr<Group> group = std::make_shared<Group>(),
                   std::shared_ptr<Objective> objective = std::make_shared<LanguageModelLoss>());
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  enum class End { kFinished, kInterrupted };
  /// Trains until config.steps or a stop signal; then saves. Throws lt2::Error when a loss or gradient is not finite
  /// and optim.nan_policy is stop or had to skip StepLoop::kMostSkips steps in a row, and when weights or the
  /// validation loss are not finite. Nothing is saved then, so the last checkpoint holds finite weights. Also throws
  /// when a source or a file of the run cannot be read or written any more; the whole steps so far are saved first.
  End run();

  /// The peak rate of this machine's processors, all its ranks together, in FLOP/s of the type of the products. Metrics
  /// then give the share that training uses.
  void set_peak_flops(double flops) { log_.set_peak_flops(flops); }

  /// Ends run() after this many of its steps, as a stop signal would.
  void stop_after(int64_t steps) { stop_after_ = steps; }
  /// What tells this rank to stop; the default is stop_signal().
  void stop_when(std::function<bool()> wanted) { stop_.stop_when(std::move(wanted)); }

 private:
  void open_run();
  End train();
  bool take_step();
  void save();

  TrainConfig config_;
  std::shared_ptr<Group> group_;
  std::shared_ptr<Objective> objective_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  RunFiles files_;
  StopWatch stop_;
  std::unique_ptr<Loader> loader_;
  Validator validator_;
  std::shared_ptr<LoopedTransformer> model_;
  RunLog log_;
  RunCheckpoints checkpoints_;
  RunSamples samples_;
  StepTracer tracer_;
  std::unique_ptr<Replica> replica_;
  std::unique_ptr<StepLoop> loop_;
  int64_t stop_after_ = -1;  // steps of this process; -1: no limit
};

}  // namespace lt2
