#pragma once
// A run on disk: checkpoints/NNNNNNNNNN/ with weights, moments and everything else that a run needs to continue as if
// it had never stopped.
#include <filesystem>
#include <string>
#include <vector>

#include "base/named_tensors.h"
#include "folders/companions.h"

namespace lt2 {

/// What a run saves besides its tensors.
struct TrainState {
  int64_t step = 0;                  // optimizer steps done
  int64_t tokens = 0;                // trained on
  int64_t draws = 0;                 // patterns drawn by random layouts
  int64_t skipped_steps = 0;         // steps without an update because a loss or gradient was not finite
  std::vector<std::string> loaders;  // by rank: the loader's state, JSON text
};

/// checkpoints/0000001200
std::filesystem::path checkpoint_folder(const std::filesystem::path& checkpoints, int64_t step);

/// Writes the folder under another name and renames it, so that it is either whole or absent. `parameters` and
/// `moments` are whole tensors, whatever the number of ranks (Replica); `params_json` is the resolved configuration,
/// `companions` the vocabulary that it names. Replaces a folder of the same step once the new one is whole. Throws
/// lt2::Error (a full disk, for example) and leaves earlier checkpoints alone.
void save_checkpoint(const std::filesystem::path& folder, const NamedTensors& parameters, const NamedTensors& moments,
                     const std::string& params_json, const TrainState& state, const Companions& companions = {});

/// train_state.json, read from `where`. Throws lt2::Error naming what does not fit.
TrainState parse_train_state(const std::string& text, const std::string& where);

/// Keeps the newest `keep` folders up to `step` whose step is a multiple of `every`; the same for the validation
/// folders. Folders whose step is a multiple of neither stay, and all folders stay when keep <= 0. Folders beyond
/// `step` stay, too: they were damaged when the run was resumed, so they must not count as the newest. A folder is
/// renamed before it is removed, so that a half-removed one never passes for a checkpoint.
void prune_checkpoints(const std::filesystem::path& checkpoints, int64_t step, const CheckpointConfig& config);

}  // namespace lt2
