#include "train/resume.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "config/tokenizer_path.h"
#include "model/companions.h"
#include "train/schedule.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::vector<FieldChange> changes_of(TrainConfig before, TrainConfig now) {
  return changed_fields(collect_fields(before), collect_fields(now));
}

std::string text_of(const FieldChange& change) {
  return fmt::format("{} {} -> {}", change.key, change.before, change.now);
}

double rate_of(const TrainConfig& config, int64_t step) {
  return config.optim.lr * lr_factor(step, config.steps, config.optim);
}

// The keys without whose change the rate of the step would be another.
std::vector<std::string> causes_of(TrainConfig before, const TrainConfig& now, int64_t step) {
  std::vector<std::string> causes, all;
  const auto changes = changes_of(before, now);
  for (const auto& field : collect_fields(before)) {
    const auto change = std::find_if(changes.begin(), changes.end(), [&](const auto& c) { return c.key == field.key; });
    if (change == changes.end() || !(field.key == "steps" || field.key.starts_with("optim."))) continue;
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

// A checkpoint has a copy of its vocabulary: where that lies is no change.
bool same_vocabulary(const TrainConfig& before, const TrainConfig& now) {
  try {
    return companions_of_run(before.data.tokenizer).files == companions_of_run(now.data.tokenizer).files;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::optional<SavedConfig> saved_config(const fs::path& folder) {
  const auto path = folder / "params.json";
  if (!fs::exists(path)) return std::nullopt;
  const auto text = read_file(path);
  SavedConfig out;
  try {
    out.config = parse_train_config(text, path.string(), {});
  } catch (const Error&) {
    out.config = {};
    out.config.model = model_config_from_json(text, path.string());
    out.whole = false;
  }
  out.config.data.tokenizer = located(out.config.data.tokenizer, folder);
  validate_model(out.config.model, path.string());
  return out;
}

std::string check_same_model(const fs::path& folder, const SavedConfig& before, const TrainConfig& now, bool allowed) {
  std::vector<std::string> fields;
  for (const auto& change : changes_of(before.config, now)) {
    const bool known = before.whole || change.key.starts_with("model.");
    if (change.defines_model && known) fields.push_back(text_of(change));
  }
  if (fields.empty()) return "";
  auto line =
      fmt::format("{}: trained as another model of the same shapes: {}", folder.string(), fmt::join(fields, ", "));
  LT2_CHECK(allowed,
            "{}. Set these as they were, or checkpoint.allow_model_change=true to use the weights all the same", line);
  return line;
}

std::string changes_line(const TrainConfig& before, const TrainConfig& now, int64_t step) {
  std::vector<std::string> fields;
  for (const auto& change : changes_of(before, now))
    if (!change.defines_model && !(change.key == "data.tokenizer.path" && same_vocabulary(before, now)))
      fields.push_back(text_of(change));
  return fields.empty() ? "" : fmt::format("changed since step {}: {}", step, fmt::join(fields, ", "));
}

std::string rate_change_line(const TrainConfig& before, const TrainConfig& now, int64_t step) {
  if (step == 0) return "";
  const bool ended = step >= before.steps;
  const double last = rate_of(before, std::min(step, before.steps) - 1), rate = rate_of(now, step);
  if (rate == (ended ? last : rate_of(before, step))) return "";
  const auto causes = causes_of(before, now, step);
  if (causes.empty()) return "";
  return fmt::format("the learning rate goes from {:.3g} at step {} to {:.3g} at step {}, because of {}", last, step,
                     rate, step + 1, fmt::join(causes, ", "));
}

}  // namespace lt2
