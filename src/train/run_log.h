#pragma once
// What a run reports while it trains: metrics.jsonl, metrics.validation.jsonl, TensorBoard's events, the progress bar
// and the lines at its beginning and end.
#include <memory>
#include <optional>
#include <string>

#include "base/progress.h"
#include "config/train_config.h"
#include "model/looped_transformer.h"
#include "train/event_file.h"
#include "train/metrics.h"
#include "train/run_files.h"
#include "train/step_loop.h"
#include "train/stop_watch.h"
#include "train/validator.h"

namespace lt2 {

class RunLog {
 public:
  /// `model` as it is before its weights are shared out. `config`, `files` and `stop` must outlive the log.
  RunLog(const TrainConfig& config, const LoopedTransformer& model, const RunFiles& files, StopWatch& stop);

  /// Opens the files; drops what they say about steps after `step`.
  void open(int64_t step);
  /// See Trainer::set_peak_flops.
  void set_peak_flops(double flops) { peak_flops_ = flops; }

  /// The line at the start of a run on `world` ranks.
  void introduce(int64_t tokens_per_step, int world) const;
  /// Shows the bar from `step` on.
  void begin(int64_t step);
  /// Call after every step that counts.
  void add_step(const StepLoop& loop);
  void add_validation(int64_t step, const std::string& source, const Validation& validation);
  /// Call after a step and what belongs to it (validation, checkpoint).
  void show_progress(const StepLoop& loop);
  void end();
  /// The line at the end of the last step, saved in `checkpoint`.
  void conclude(const StepLoop& loop, const std::string& checkpoint) const;

 private:
  void write_step(const StepLoop& loop);

  const TrainConfig& config_;
  const RunFiles& files_;
  StopWatch& stop_;
  double flops_per_token_, peak_flops_ = 0;
  int64_t parameters_;
  std::unique_ptr<MetricsLog> metrics_;  // these of rank 0
  std::unique_ptr<EventFile> events_;
  std::optional<ProgressBar> bar_;
  std::optional<double> last_validation_;
  struct {
    int64_t tokens = 0;
    double seconds = 0, data_seconds = 0;
  } since_line_;  // of metrics.jsonl
};

}  // namespace lt2
