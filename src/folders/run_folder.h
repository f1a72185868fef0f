#pragma once
// A run's checkpoints: step folders checkpoints/NNNNNNNNNN/, each whole or not.
#include <filesystem>
#include <optional>
#include <vector>

namespace lt2 {

/// All step folders under `checkpoints`, whole or not, ascending by step.
std::vector<std::filesystem::path> step_folders(const std::filesystem::path& checkpoints);

/// Step folders under `checkpoints` that are complete (the files that checksums.json lists have their sizes), ascending
/// by step.
std::vector<std::filesystem::path> complete_checkpoints(const std::filesystem::path& checkpoints);

/// The newest of them; skipped incomplete ones are named. None: the folder has none.
std::optional<std::filesystem::path> newest_complete_checkpoint(const std::filesystem::path& checkpoints);

}  // namespace lt2
