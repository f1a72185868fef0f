#pragma once
// What a start does differently from the run whose weights it takes over: a change of the model's function is refused
// unless allowed, every other change is told.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "config/train_config.h"
#include "folders/model_folder.h"

namespace lt2 {

/// Compares the configuration that the folder's weights were trained under with `now`, in what defines their function:
/// Check::defines_model of what the model has, and the content of the vocabulary; of a folder without a whole
/// params.json the model alone. Throws lt2::Error that names the folder and each such field with both values, unless
/// `allowed`; then returns that line, empty if nothing changed.
std::string check_same_model(const ModelFolder& before, const TrainConfig& now, bool allowed);

/// "changed since step 100: steps 100 -> 200, optim.lr 0.003 -> 0.001": every other key with an effect; empty if none.
std::string changes_line(const TrainConfig& before, const TrainConfig& now, int64_t step);

/// Says that the learning rate of the next step, number `step` from 0, is not the one of the course before, and which
/// keys did it; empty if it is. A course that has ended would have gone on as in its last step.
std::string rate_change_line(const TrainConfig& before, const TrainConfig& now, int64_t step);

}  // namespace lt2
