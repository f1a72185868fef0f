// Tables without tensors: layout grammar and learning-rate schedules.
#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "check/judge.h"
#include "config/plan_json.h"
#include "train/schedule.h"

namespace lt2::check {
namespace {

bool attention_agrees(const nlohmann::json& row) {
  ModelConfig config;
  config.attention_pattern = row.at("attention_pattern").get<std::string>();
  config.n_layers = row.at("n_layers").get<int64_t>();
  config.loop_count = row.at("loop_count").get<int64_t>();
  config.default_sliding_window = row.at("default_sliding_window").is_null()
                                      ? std::nullopt
                                      : std::optional(row.at("default_sliding_window").get<int64_t>());
  config.seed = row.at("seed").get<int64_t>();
  try {
    const auto plan = attention_plan(config, row.at("draw").get<int64_t>());
    return !row.contains("error") && windows_json(plan) == row.at("windows") &&
           plan.block_size == row.at("block_size").get<int64_t>() &&
           plan.n_blocks() == row.at("n_blocks").get<int64_t>();
  } catch (const Error&) {
    return row.contains("error");
  }
}

bool layers_agree(const nlohmann::json& row) {
  try {
    const auto types = layer_types(row.at("layer_pattern").get<std::string>(), row.at("n_layers").get<int64_t>());
    return !row.contains("error") && nlohmann::json(types) == row.at("types");
  } catch (const Error&) {
    return row.contains("error");
  }
}

bool shuffle_agrees(const nlohmann::json& row) {
  std::vector<int64_t> items(row.at("n").get<size_t>());
  for (size_t i = 0; i < items.size(); ++i) items[i] = static_cast<int64_t>(i);
  PythonRandom(row.at("seed").get<uint64_t>()).shuffle(items);
  return nlohmann::json(items) == row.at("permutation");
}

}  // namespace

void check_patterns(const nlohmann::json& table, Judge& judge) {
  const auto count = [&](const std::string& name, bool (*agrees)(const nlohmann::json&)) {
    double wrong = 0;
    for (const auto& row : table.at(name)) wrong += agrees(row) ? 0 : 1;
    judge.add(name + " rows that differ", wrong, 0, true);
  };
  count("attention", attention_agrees);
  count("layers", layers_agree);
  count("shuffles", shuffle_agrees);
}

void check_schedules(const nlohmann::json& table, Judge& judge) {
  for (const auto& row : table) {
    const auto optim = optim_config(row.at("optim"));
    const auto steps = row.at("n_steps").get<int64_t>();
    int64_t k = 0;
    for (const auto& factor : row.at("factors")) {
      const double expected = factor.get<double>();
      judge.add("factors " + optim.scheduler,
                std::abs(lr_factor(k++, steps, optim) - expected) / std::max(std::abs(expected), 1e-300), 1e-12, false);
    }
  }
}

}  // namespace lt2::check
