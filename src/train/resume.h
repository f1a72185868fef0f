#pragma once
// How a start differs from the run whose weights it takes over: a change of the model's function is refused unless it
// is allowed; every other change is reported.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "config/train_config.h"
#include "folders/model_folder.h"

namespace lt2 {

/// Compares `now` with the configuration under which the folder's weights were trained, in what defines their function:
/// the fields with Check::defines_model of the parts that the model has, and the content of the vocabulary. For a
/// folder without a whole params.json it compares the model alone. Throws lt2::Error that names the folder and each
/// changed field with both values. If `allowed`, returns that line instead; empty if nothing changed.
std::string check_same_model(const ModelFolder& before, const TrainConfig& now, bool allowed);

/// "changed since step 100: steps 100 -> 200, optim.lr 0.003 -> 0.001": every other key with an effect; empty if none.
std::string changes_line(const TrainConfig& before, const TrainConfig& now, int64_t step);

/// A line that says that the next step (`step`, from 0) has another learning rate than under the schedule before, and
/// which keys changed it; empty if the rate is the same. A schedule that has ended counts as if it kept its last rate.
std::string rate_change_line(const TrainConfig& before, const TrainConfig& now, int64_t step);

}  // namespace lt2
