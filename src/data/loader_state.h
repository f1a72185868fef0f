#pragma once
// The position of a loader in the JSON form of Meta Lingua, which either program can continue from.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"

namespace lt2 {

struct LoaderState {
  struct Source {
    std::string name;
    double weight = 0;
    std::string file_path;
    int64_t position = 0, block_size = 1, offset = 0, current_iter = 0;
  };

  // The stream of documents, before the one that holds the first token of the shuffle buffer's round.
  std::optional<std::string> root_dir;
  std::vector<Source> sources;
  Pcg64::State source_rng;
  bool add_bos = true, add_eos = true;
  std::string tokenizer_name;
  std::optional<std::string> tokenizer_path;
  // Its token at which the round begins, and how it is cut.
  int64_t start_token = 0, seq_len = 0, n_views = 0;
  // The round: the next block of rows, the generator before the shuffle.
  int64_t seq_idx = 0;
  Pcg64::State shuffle_rng;
  int64_t batch_size = 0, prefetch_size = 0;
  std::optional<int64_t> seed;  // ours: set when it is not the configured one (data started afresh on a resume)
};

std::string to_json(const LoaderState& state);
/// Also reads long integers that have been put in quotes. Throws lt2::Error that begins with `where` and names
/// what is missing or of the wrong type.
LoaderState loader_state_from_json(const std::string& json, const std::string& where);

/// Puts integers of 18 digits and more in quotes, so that JSON libraries do not round them to doubles. Such text still
/// is what loader_state_from_json reads.
std::string quote_long_integers(const std::string& json);

}  // namespace lt2
