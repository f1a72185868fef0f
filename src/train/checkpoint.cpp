#include "train/checkpoint.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/json_field.h"
#include "base/log.h"
#include "checkpoint/checksums.h"
#include "checkpoint/safetensors.h"
#include "folders/model_folder.h"
#include "folders/run_folder.h"

namespace lt2 {

namespace fs = std::filesystem;

fs::path checkpoint_folder(const fs::path& checkpoints, int64_t step) {
  return checkpoints / fmt::format("{:010}", step);
}

void save_checkpoint(const fs::path& folder, const NamedTensors& parameters, const NamedTensors& moments,
                     const std::string& params_json, const TrainState& state, const Companions& companions) {
  make_folders(folder.parent_path(), "checkpoint.path");
  const auto fill = [&](const fs::path& aside) {
    write_safetensors(aside / kWeightsFile, parameters, {{"format", "pt"}});
    write_safetensors(aside / kOptimizerFile, moments, {{"format", "pt"}});
    write_file_atomically(aside / kParamsFile, params_json);
    companions.write(aside);
    // A loader's state holds 128-bit integers, which JSON libraries cut: it travels as text.
    nlohmann::ordered_json json{{"step", state.step},
                                {"acc_step", 0},
                                {"tokens", state.tokens},
                                {"draws", state.draws},
                                {"skipped_steps", state.skipped_steps}};
    if (state.loaders.size() == 1) {
      json["data_loader_state"] = state.loaders[0];
    } else {
      json["data_loader_state"] = state.loaders;
    }
    write_file_atomically(aside / kTrainStateFile, json.dump(2) + "\n");
    write_checksums(aside);
  };
  write_folder_atomically(folder, fill, IfThere::kReplace);
}

TrainState parse_train_state(const std::string& text, const std::string& where) {
  constexpr int64_t kMost = int64_t{1} << 62;
  const auto document = parse_json(text, where);
  const JsonField root(document, where), loaders = root.at("data_loader_state");
  TrainState state{.step = root.at("step").integer(0, kMost),
                   .tokens = root.integer("tokens", 0, kMost, 0),
                   .draws = root.integer("draws", 0, kMost, 0),
                   .skipped_steps = root.integer("skipped_steps", 0, kMost, 0),
                   .loaders = {}};
  if (loaders.value().is_string()) {
    state.loaders.push_back(loaders.text());
  } else {
    for (size_t i = 0; i < loaders.array().size(); ++i) state.loaders.push_back(loaders.at(i).text());
  }
  return state;
}

void prune_checkpoints(const fs::path& checkpoints, int64_t step, const CheckpointConfig& config) {
  auto folders = complete_checkpoints(checkpoints);
  const auto step_of = [](const fs::path& folder) { return std::stoll(folder.filename().string()); };
  std::erase_if(folders, [&](const fs::path& folder) { return step_of(folder) > step; });
  std::set<fs::path> kept, candidates;
  const auto sort_out = [&](int64_t every, int64_t keep) {
    std::vector<fs::path> kind;
    for (const auto& folder : folders) {
      if (step_of(folder) % every == 0) kind.push_back(folder);
    }
    const size_t first =
        keep > 0 && kind.size() > static_cast<size_t>(keep) ? kind.size() - static_cast<size_t>(keep) : 0;
    candidates.insert(kind.begin(), kind.end());
    kept.insert(kind.begin() + static_cast<std::ptrdiff_t>(first), kind.end());
  };
  sort_out(config.dump.every, config.dump.keep);
  sort_out(config.eval.every, config.eval.keep);
  for (const auto& folder : candidates) {
    if (kept.count(folder)) continue;
    try {
      remove_atomically(folder);
    } catch (const Error& error) {
      log_warning("{}", error.what());
    }
  }
}

}  // namespace lt2
