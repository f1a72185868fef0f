#pragma once
// Training batches: weighted sources, documents packed into sequences, a shuffle buffer. Batches and saved positions
// are those of Meta Lingua, so a run can be continued here or there with the same data.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lt2 {

struct Batch {
  int64_t rows = 0, seq_len = 0, n_views = 0;
  std::vector<int32_t> tokens;  // [rows, seq_len, n_views]: view v is the sequence shifted by v
};

/// The `data` group of a configuration, and what validation takes away from it.
struct LoaderConfig {
  std::optional<std::string> root_dir;
  std::vector<std::pair<std::string, double>> sources;  // name (a folder, a .jsonl or a .txt file) -> weight
  int64_t batch_size = 2, seq_len = 2048, n_views = 2, seed = 42;
  bool add_bos = true, add_eos = true;
  bool load_async = true;      // a thread loads ahead; the data is the same
  int64_t prefetch_size = 64;  // batches in the shuffle buffer
  std::string tokenizer_name = "bytes";
  std::optional<std::string> tokenizer_path;
  std::string tokenizer_specials = "lingua";
  bool allow_unread_chunks = false;  // a folder may have more chunk files than there are processes
  double held_back = 0;              // share at the end of every single-file source that is left to ValidationSet
};

/// Endless. The buffer holds prefetch_size * batch_size sequences as int32; of a source file a block, of a .txt
/// file its tokens. A source that is cut short meanwhile is an lt2::Error.
class Loader {
 public:
  /// For process `rank` of `world`. Throws lt2::Error for a source that is missing or cannot be shared; nothing is read
  /// yet.
  Loader(const LoaderConfig& config, int64_t rank, int64_t world);
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
