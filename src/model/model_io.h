#pragma once
// A model on disk: checkpoints/NNNNNNNNNN/ with model.safetensors (official names) and params.json (the run's
// configuration).
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/safetensors.h"
#include "model/looped_transformer.h"

namespace lt2 {

/// All step folders under `checkpoints`, whole or not, ascending by step.
std::vector<std::filesystem::path> step_folders(const std::filesystem::path& checkpoints);

/// Step folders under `checkpoints` that are complete (the files that checksums.json lists have their sizes), ascending
/// by step.
std::vector<std::filesystem::path> complete_checkpoints(const std::filesystem::path& checkpoints);

/// The newest of them; the incomplete ones passed over are named. None: there is none.
std::optional<std::filesystem::path> newest_complete_checkpoint(const std::filesystem::path& checkpoints);

/// The folder with model.safetensors meant by what a user typed: a step folder, a folder of step folders, or a run's
/// dump directory; the latest complete one. Throws lt2::Error that lists what was found.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& path);

/// Copies every parameter out of `tensors`, which lie in `where`. One that is unknown, missing or of another shape is
/// one lt2::Error that names place, tensor, both shapes and the likely cause.
void copy_parameters(LoopedTransformer& model, const std::string& where, const NamedTensors& tensors);

/// copy_parameters from `file`. Official aliases (output.tied_module.weight of tied models) may be there.
void load_parameters(LoopedTransformer& model, const SafetensorsFile& file);

/// Model and configuration of a checkpoint folder (see resolve_checkpoint). Products in `compute_type`, or as it was
/// trained.
struct LoadedModel {
  std::shared_ptr<LoopedTransformer> model;
  TrainConfig config;
  std::filesystem::path folder;
};
LoadedModel load_model(const std::filesystem::path& path, std::optional<torch::ScalarType> compute_type = {});

/// "fp32" | "bf16" -> torch type; anything else: lt2::Error naming `field`.
torch::ScalarType parse_dtype(const std::string& name, const std::string& field);

}  // namespace lt2
