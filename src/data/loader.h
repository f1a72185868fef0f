#pragma once
// Training batches: weighted sources, documents packed into sequences, a shuffle buffer. Batches and saved positions
// are those of Meta Lingua, so a run can be continued here or there with the same data.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/train_config.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {

struct Batch {
  int64_t rows = 0, seq_len = 0, n_views = 0;
  std::vector<int32_t> tokens;  // [rows, seq_len, n_views]: view v is the sequence shifted by v
};

/// Endless. The buffer holds prefetch_size * batch_size sequences as int32; of a source file a block, of a .txt
/// file its tokens. A source that is cut short meanwhile is an lt2::Error.
class Loader {
 public:
  /// For process `rank` of `world`. `held_back`: share at the end of every single-file source that is left to
  /// ValidationSet. `tokenizer`: the one that config.tokenizer means; null: it is made. Throws lt2::Error for a source
  /// that is missing or cannot be shared; nothing is read yet.
  Loader(const DataConfig& config, int64_t rank, int64_t world, double held_back = 0,
         std::shared_ptr<const Tokenizer> tokenizer = nullptr);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Throws lt2::Error for a line that cannot be read and for a source without a token, also what the loading thread
  /// met.
  Batch next();

  /// The position after the batch handed out last, as JSON. It has integers of 128 bits, see quote_long_integers in
  /// loader_state.h.
  std::string state() const;

  /// Continues after the batch whose state `json` is; the next batch costs the reading of up to two
  /// buffers. If that position means nothing here (other sources, number of processes, tokenizer, batch shape, changed
  /// files) says so and starts the data from the beginning, with seed + `step` so that the order is another; returns
  /// false then. Throws lt2::Error that begins with `where` if `json` is no state.
  bool restore(const std::string& json, int64_t step, const std::string& where = "data loader state");

  /// Begins anew, with seed + `step`, and says that it is because of `reason`.
  void restart(int64_t step, const std::string& reason);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lt2
