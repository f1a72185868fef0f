#pragma once
// The same few batches every time, of text that is not trained on.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"

namespace lt2 {

/// Reads its batches once, when built, and keeps them. From the start of each source, one pass, sequences taken from
/// the sources in turn; the tokens left over at a source's end are dropped.
class ValidationSet {
 public:
  /// Text: all of `source` (a file, or a folder's *.val.jsonl files) if given, else what `held_back` takes from
  /// the sources (as Loader's) and the *.val.jsonl files of those that are folders. At most `max_batches` batches of
  /// config.batch_size rows, the last possibly with fewer; of text shorter than a sequence one row, as long as the
  /// text. Throws lt2::Error if even that is missing.
  ValidationSet(const DataConfig& config, const std::optional<std::string>& source, int64_t max_batches,
                double held_back, const Tokenizer& tokenizer);

  const std::vector<Batch>& batches() const { return batches_; }  // each [rows, seq_len, 2]

 private:
  std::vector<Batch> batches_;
};

}  // namespace lt2
