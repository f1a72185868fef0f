#pragma once
// A training run from a validated configuration: build or resume, step, validate, save, watch.
#include <exception>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "base/files.h"
#include "config/train_config.h"
#include "data/loader.h"
#include "data/validation.h"
#include "model/looped_transformer.h"
#include "tokenizer/tokenizer.h"
#include "train/checkpoint.h"
#include "train/event_file.h"
#include "train/metrics.h"
#include "train/replica.h"
#include "train/resume.h"
#include "train/step.h"
#include "train/trace.h"

namespace lt2 {

class Trainer {
 public:
  /// Builds everything and resumes from the newest sound checkpoint of the dump directory. `config` must be validated.
  /// Throws lt2::Error if there are checkpoints but no sound one, if the weights were trained as another model
  /// (train/resume.h), and if another process trains in the directory; the run's files are then as they were.
  /// `group`: the ranks that train together, each with the same configuration and objective.
  explicit Trainer(TrainConfig config, std::shared_ptr<Group> group = std::make_shared<Group>(),
                   std::shared_ptr<Objective> objective = std::make_shared<LanguageModelLoss>());

  enum class End { kFinished, kInterrupted };
  /// Trains until config.steps or a stop signal; then saves. Throws lt2::Error when a loss or gradient is not finite
  /// and optim.nan_policy is stop or had to skip kMostSkips steps in a row, and when weights or the validation loss are
  /// not finite. Nothing is saved then, so the last checkpoint holds finite weights. Also throws when a source or a
  /// file of the run cannot be read or written any more; the whole steps so far are saved first.
  End run();

  static constexpr int64_t kMostSkips = 10;

  /// What the processors of this machine multiply at most, all its ranks together, in FLOP/s of the type of the
  /// products: metrics then tell the share that training uses.
  void set_peak_flops(double flops) { peak_flops_ = flops; }

  /// Ends run() as a stop signal would, after this many of its steps.
  void stop_after(int64_t steps) { stop_after_ = steps; }
  /// What tells this rank to stop; the default is stop_signal().
  void stop_when(std::function<bool()> wanted) { stop_wanted_ = std::move(wanted); }

 private:
  MicroBatch load_batch();
  bool take_step();
  void log_step();
  void validate();
  std::string progress_text() const;
  int64_t tokens_per_step() const;  // of all ranks
  std::string validation_name() const;
  [[noreturn]] void diverged(const std::string& what) const;
  void sample(const std::string& when);
  void save();
  bool writes() const { return group_->rank() == 0; }  // files and the terminal belong to rank 0
  bool stopped(bool together) const;
  void keep_failure(const std::function<void()>& use_files);
  std::optional<std::filesystem::path> newest_checkpoint() const;
  void compare_model(const ModelFolder& before, bool allow_change) const;
  void tell_changes(const ModelFolder& folder) const;

  TrainConfig config_;
  std::filesystem::path dump_dir_, checkpoints_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Companions companions_;  // rank 0
  std::shared_ptr<LoopedTransformer> model_;
  std::shared_ptr<Group> group_;
  std::unique_ptr<Replica> replica_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<ValidationSet> validation_;
  std::unique_ptr<MetricsLog> metrics_;  // rank 0
  std::unique_ptr<EventFile> events_;    // rank 0
  StepTracer tracer_;
  std::list<FileLock> locks_;  // dump_dir and checkpoint.path
  TrainState state_;
  std::string position_;  // the loader's, behind the last whole step
  int64_t saved_step_ = -1;
  std::function<bool()> stop_wanted_;
  std::exception_ptr failure_;  // of a file: ends the run as a signal does, then is thrown
  int64_t stop_after_ = -1;     // steps of this process; -1: no limit
  int64_t skips_in_a_row_ = 0;
  double flops_per_token_ = 0, peak_flops_ = 0;
  int64_t parameters_ = 0;
  StepResult last_;
  double last_seconds_ = 0;
  std::optional<double> last_validation_;
  struct {
    int64_t tokens = 0;
    double seconds = 0, data_seconds = 0;
  } since_log_;
};

}  // namespace lt2
