#pragma once
// The small files next to a model's weights: its vocabulary with the names of its special tokens, and the defaults of
// generation. Every writer of a folder with weights carries them along, so that the folder opens anywhere, alone,
// and its texts begin and end as before.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/train_config.h"

namespace lt2 {

struct Companions {
  /// Name in the folder, content. Held in memory: a long run saves the vocabulary that it was started with.
  std::vector<std::pair<std::string, std::string>> files;
  /// The vocabulary as a configuration next to the files names it; none: the folder has no vocabulary.
  std::optional<TokenizerConfig> tokenizer;
  int32_t bos_id = -1, eos_id = -1, pad_id = -1;  // its marks; -1: it has none

  const std::string* find(const std::string& name) const;
  /// Into an existing folder.
  void write(const std::filesystem::path& folder) const;
  /// The configuration for this folder: its vocabulary is the one next to it.
  TrainConfig beside(TrainConfig config) const;
};

/// The vocabulary of the weights in `folder`: the one next to them that `run` names, else a tokenizer.json next to
/// them, else what `run` names, as older runs did. Its path can be opened as it is.
std::optional<TokenizerConfig> find_tokenizer(const std::filesystem::path& folder,
                                              const std::optional<TrainConfig>& run);

/// All names that companions can have.
std::vector<std::string> companion_names();

/// The companions of the weights in `folder`. A vocabulary that cannot be opened is reported and left out: what a
/// configuration names may be any file, and no other is carried along.
Companions companions_of(const std::filesystem::path& folder, const std::optional<TokenizerConfig>& tokenizer);

/// Those of a run that starts: its vocabulary alone, which it has opened; the marks stay unset. Throws lt2::Error if a
/// file cannot be read.
Companions companions_of_run(const TokenizerConfig& tokenizer);

}  // namespace lt2
