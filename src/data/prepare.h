#pragma once
// `lt2 data prepare`: text files of several formats to shuffled chunk files and a validation file, as the loader reads
// them.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/prepare_config.h"

namespace lt2 {

/// What does not change the result.
struct PrepareLimits {
  uint64_t memory = uint64_t{2} << 30;
  uint64_t checkpoint_bytes = uint64_t{256} << 20;  // of text, after which what has been done is made safe
  /// Called with the name of each step that is done; tests stop it there as a kill would.
  std::function<void(std::string_view step)> after_step = [](std::string_view) {};
};

struct PrepareReport {
  uint64_t documents = 0, text_bytes = 0;
  uint64_t validation_documents = 0;
  uint64_t blank_lines = 0, bad_lines = 0;
  uint64_t invalid_utf8 = 0;  // broken byte sequences and lone surrogate escapes
  bool was_done = false;      // the folder was there already, from the same inputs and settings
};

/// Makes the folder config.out with NAME.chunk.NN.jsonl, NAME.val.jsonl and prepare.json (what it was made from). It
/// appears whole; until then the work lies in OUT.prepare next to it, from which the same call continues after a kill.
///
/// The files are a function of the documents in the order of their files' names, and of the seed: documents are
/// shuffled, document i goes to chunk i mod nchunks, and the first validation_lines of every chunk to the validation
/// file, chunk after chunk (with fewer than nchunks * (validation_lines + 1) documents 1 % of a chunk at most).
///
/// Throws lt2::Error for what cannot be read or written, for a line without a text (on_bad_line), and if the folder or
/// the unfinished work comes from other inputs or settings.
PrepareReport prepare_data(const PrepareConfig& config, const PrepareLimits& limits);

}  // namespace lt2
