#pragma once
// Text that the model generates before and after training, on the terminal and in samples.json.
#include <string>

#include "config/train_config.h"
#include "tokenizer/tokenizer.h"
#include "train/replica.h"
#include "train/run_files.h"
#include "train/stop_watch.h"

namespace lt2 {

class RunSamples {
 public:
  /// All must outlive it.
  RunSamples(const TrainConfig& config, const Tokenizer& tokenizer, const RunFiles& files, const StopWatch& stop);

  /// Continues val.prompt, if it is set, with the weights of step `step`; `when` names the sample ("before training").
  /// A stop ends it early, and an incomplete text is dropped. All ranks must call. Throws lt2::Error if samples.json
  /// cannot be written.
  void write(Replica& replica, const std::string& when, int64_t step) const;

 private:
  void show(const std::string& when, int64_t step, const std::string& text) const;
  void keep(const std::string& when, int64_t step, const std::string& text) const;

  const TrainConfig& config_;
  const Tokenizer& tokenizer_;
  const RunFiles& files_;
  const StopWatch& stop_;
};

}  // namespace lt2
