#pragma once
// The loss on text that the run does not train on.
#include <cstdint>
#include <optional>
#include <string>

#include "config/train_config.h"
#include "data/validation.h"
#include "tokenizer/tokenizer.h"
#include "train/replica.h"
#include "train/stop_watch.h"

namespace lt2 {

struct Validation {
  double loss_per_token = 0, bits_per_byte = 0;
};

class Validator {
 public:
  /// Reads the batches that `val` and `data` name; none when val.every is 0 or a signal came meanwhile. `config`,
  /// `tokenizer` and `stop` must outlive it. Throws lt2::Error for text that cannot be read or is too short.
  Validator(const TrainConfig& config, const Tokenizer& tokenizer, const StopWatch& stop);

  /// Whether the run validates after `step` steps.
  bool due(int64_t step) const;
  /// The model's next-token loss over all batches, as the engine scores them; the ranks share the batches out. Nullopt
  /// if a stop ended it early. All ranks must call. Throws Diverged if the loss is not finite.
  std::optional<Validation> measure(Replica& replica) const;
  /// The text's key in metrics.validation.jsonl: file or folder names, as the official files have them.
  std::string source_name() const;

 private:
  const TrainConfig& config_;
  const Tokenizer& tokenizer_;
  const StopWatch& stop_;
  std::optional<ValidationSet> set_;
};

}  // namespace lt2
