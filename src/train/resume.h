#pragma once
// What a start does differently from the run whose weights it takes over: a change of the model's function is refused
// unless allowed, every other change is told.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "config/train_config.h"
#include "model/model_folder.h"

namespace lt2 {

/// The configuration in FOLDER/params.json with its model validated; of a program of another age the model alone, which
/// `whole` then says. None: there is no such file. Throws lt2::Error if it describes no model.
struct SavedConfig {
  TrainConfig config;
  bool whole = true;
};
std::optional<SavedConfig> saved_config(const std::filesystem::path& folder);
/// Of any folder with a model: one without params.json has the model alone.
SavedConfig saved_config(const ModelFolder& folder);

/// Compares with `now` what defines the function of trained weights: Check::defines_model of what the model has, and
/// the content of the vocabulary. Throws lt2::Error that names `folder` and each such field with both values, unless
/// `allowed`; then returns that line, empty if nothing changed.
std::string check_same_model(const std::filesystem::path& folder, const SavedConfig& before, const TrainConfig& now,
                             bool allowed);

/// "changed since step 100: steps 100 -> 200, optim.lr 0.003 -> 0.001": every other key with an effect; empty if none.
std::string changes_line(const TrainConfig& before, const TrainConfig& now, int64_t step);

/// Says that the learning rate of the next step, number `step` from 0, is not the one of the course before, and which
/// keys did it; empty if it is. A course that has ended would have gone on as in its last step.
std::string rate_change_line(const TrainConfig& before, const TrainConfig& now, int64_t step);

}  // namespace lt2
