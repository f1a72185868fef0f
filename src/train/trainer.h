#pragma once
// A training run from a validated configuration: build or resume, step, validate, save, watch.
#include <filesystem>
#include <memory>
#include <string>

#include "config/train_config.h"
#include "data/loader.h"
#include "data/validation.h"
#include "model/looped_transformer.h"
#include "tokenizer/tokenizer.h"
#include "train/adamw.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/step.h"

namespace lt2 {

class Trainer {
 public:
  /// Builds everything and resumes from the newest complete checkpoint of the dump directory, if there is one. `config`
  /// must be validated.
  explicit Trainer(TrainConfig config);

  enum class End { kFinished, kInterrupted };
  /// Trains until config.steps or a stop signal; then saves. Throws lt2::Error when a loss is not finite and
  /// optim.nan_policy is stop (the last good checkpoint stays).
  End run();

  /// Ends run() as a stop signal would, after this many of its steps.
  void stop_after(int64_t steps) { stop_after_ = steps; }

  /// What `lt2 train --dry-run` prints: parameters, FLOPs per token, memory, tokens. Allocates weights only.
  static std::string plan(const TrainConfig& config);

 private:
  MicroBatch load_batch();
  void take_step();
  void log_step(const StepResult& result, double seconds);
  void validate();
  void sample(const std::string& when);
  void save();
  void resume();

  TrainConfig config_;
  std::filesystem::path dump_dir_, checkpoints_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<LoopedTransformer> model_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<ValidationSet> validation_;
  std::unique_ptr<MetricsLog> metrics_;
  TrainState state_;
  int64_t saved_step_ = -1;
  int64_t stop_after_ = -1;  // steps of this process; -1: no limit
  double data_seconds_ = 0;  // waited for data since the last log line
  double last_loss_ = 0, last_validation_ = 0;
  std::string progress_text_;
};

}  // namespace lt2
