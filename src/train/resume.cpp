#include "train/resume.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/unused_keys.h"
#include "folders/companions.h"
#include "train/schedule.h"

namespace lt2 {
namespace {

std::vector<FieldChange> changes_of(TrainConfig before, TrainConfig now) {
  return changed_fields(collect_fields(before), collect_fields(now));
}

std::string text_of(const FieldChange& change) {
  return fmt::format("{} {} -> {}", change.key, change.before, change.now);
}

double rate_of(const TrainConfig& config, int64_t step) {
  return config.optim.lr * lr_factor(step, config.steps, config.optim);
}

// The keys that lr_factor reads.
bool is_of_the_schedule(const std::string& key) {
  static const std::set<std::string> keys{"steps",        "lr",           "scheduler",      "warmup",    "lr_min_ratio",
                                          "cycle_length", "cosine_theta", "decay_fraction", "exp_factor"};
  const std::string_view optim = "optim.";
  return keys.contains(key.starts_with(optim) ? key.substr(optim.size()) : key);
}

// The changed keys that change the step's rate: with their old values it would be another.
std::vector<std::string> causes_of(TrainConfig before, const TrainConfig& now, int64_t step) {
  std::vector<std::string> causes, all;
  const auto changes = changes_of(before, now);
  for (const auto& field : collect_fields(before)) {
    const auto change = std::find_if(changes.begin(), changes.end(), [&](const auto& c) { return c.key == field.key; });
    if (change == changes.end() || !is_of_the_schedule(field.key)) continue;
    all.push_back(text_of(*change));
    TrainConfig without = now;
    read_tree(to_tree({field}), collect_fields(without));
    bool acts = true;
    try {
      acts = rate_of(without, step) != rate_of(now, step);
    } catch (const Error&) {  // the keys only fit together changed
    }
    if (acts) causes.push_back(text_of(*change));
  }
  return causes.empty() ? all : causes;
}

// Whether both use the same vocabulary, wherever its file is: a checkpoint has a copy. Nullopt: an older checkpoint has
// no copy, and the file is missing.
std::optional<bool> same_vocabulary(const TrainConfig& before, const TrainConfig& now) {
  const auto vocabulary = [](const TrainConfig& config) {
    const auto files = companions_of_run(config.data.tokenizer).files;
    return files.empty() ? std::optional<std::string>() : files.front().second;
  };
  try {
    const auto was = vocabulary(before), is = vocabulary(now);
    if (was.has_value() == is.has_value()) return was == is;
  } catch (const Error&) {
  }
  return std::nullopt;
}

enum class Effect {
  kModel,  // another function of the same weights
  kOther,
  kNone,
};
Effect effect_of(const FieldChange& change, const TrainConfig& before, const TrainConfig& now) {
  if (change.key == "data.tokenizer.path") {
    const auto same = same_vocabulary(before, now);
    return !same ? Effect::kOther : *same ? Effect::kNone : Effect::kModel;
  }
  const bool model = change.defines_model && !(unused_model_keys(before.model).contains(change.key) &&
                                               unused_model_keys(now.model).contains(change.key));
  return model ? Effect::kModel : Effect::kOther;
}

}  // namespace

std::string check_same_model(const ModelFolder& before, const TrainConfig& now, bool allowed) {
  const auto was = before.run_config();
  std::vector<std::string> fields;
  for (const auto& change : changes_of(was, now)) {
    const bool known = before.run || change.key.starts_with("model.");
    if (known && effect_of(change, was, now) == Effect::kModel) fields.push_back(text_of(change));
  }
  if (fields.empty()) return "";
  auto line = fmt::format("{}: trained as another model of the same shapes: {}", before.where.string(),
                          fmt::join(fields, ", "));
  LT2_CHECK(allowed,
            "{}. Set these as they were, or checkpoint.allow_model_change=true to use the weights all the same", line);
  return line;
}

std::string changes_line(const TrainConfig& before, const TrainConfig& now, int64_t step) {
  std::vector<std::string> fields;
  for (const auto& change : changes_of(before, now))
    if (effect_of(change, before, now) == Effect::kOther) fields.push_back(text_of(change));
  return fields.empty() ? "" : fmt::format("changed since step {}: {}", step, fmt::join(fields, ", "));
}

std::string rate_change_line(const TrainConfig& before, const TrainConfig& now, int64_t step) {
  if (step == 0 || step >= now.steps) return "";
  const bool ended = step >= before.steps;
  const double last = rate_of(before, std::min(step, before.steps) - 1), rate = rate_of(now, step);
  if (rate == (ended ? last : rate_of(before, step))) return "";
  const auto causes = causes_of(before, now, step);
  const auto from = fmt::format("{:.3g}", last), to = fmt::format("{:.3g}", rate);
  if (causes.empty() || from == to) return "";
  return fmt::format("the learning rate goes from {} at step {} to {} at step {}, because of {}", from, step, to,
                     step + 1, fmt::join(causes, ", "));
}

}  // namespace lt2
