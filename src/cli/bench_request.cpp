#include "cli/bench_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "cli/options.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

/// The name of a folder, of a file without its extension: "a" of runs/a/ and of a.yaml.
std::string name_of(const std::string& place) {
  auto path = std::filesystem::path(place).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  std::error_code unreadable;  // opening the model says it
  return (std::filesystem::is_directory(path, unreadable) ? path.filename() : path.stem()).string();
}

/// One name for each model, all different: given, or "model", or the names of files and folders.
std::vector<std::string> labels_of(const BenchConfig& config) {
  const auto& places = config.ckpt.empty() ? config.config : config.ckpt;
  auto labels = config.label;
  if (labels.empty() && places.size() > 1) {
    for (const auto& place : places) labels.push_back(name_of(place));
  }
  if (labels.empty()) labels.emplace_back("model");
  LT2_CHECK(places.empty() || labels.size() == places.size(), "label= must name each of the {} models; found \"{}\"",
            places.size(), fmt::join(config.label, ","));
  const std::set<std::string> different(labels.begin(), labels.end());
  LT2_CHECK(different.size() == labels.size(), "every model needs a name of its own; give label=NAME,.. (found {})",
            fmt::join(labels, ", "));
  return labels;
}

void refuse_keys_without_effect(const Options& options, const BenchRequest& request) {
  const auto refuse = [&](bool useless, const std::vector<std::string>& keys, const char* where) {
    if (useless) refuse_without_effect(options, "bench", keys, where);
  };
  const bool timed = request.in_grid || request.frontier.empty();
  refuse(request.own_model(), {"shapes", "layouts"}, "with your own model");
  refuse(!request.own_model(), {"label"}, "without your own model");
  refuse(!request.in_grid, {"minutes", "prompts"}, "outside the grid");
  refuse(!request.in_grid && request.frontier.empty(), {"memory"}, "outside the grid and without frontier");
  refuse(!timed, {"mode", "contexts", "seq_len", "seconds"}, "with frontier, which times nothing");
  refuse(!timed || !request.wants("train"), {"recompute"}, "unless mode=train is timed");
  refuse(!request.wants("prefill"), {"prompts"}, "without mode=prefill");
  refuse(request.in_grid && !request.wants("decode"), {"contexts"}, "on the grid's prompts");
  refuse(!request.wants("prefill") && !request.wants("decode"), {"contexts"}, "on training, which takes seq_len");
}

}  // namespace

bool BenchRequest::wants(const std::string& wanted) const {
  return std::find(modes.begin(), modes.end(), wanted) != modes.end();
}

BenchRequest read_request(const Arguments& arguments) {
  BenchRequest request;
  const auto options =
      read_options(arguments.words, "bench", Others::kTrainingKeys, static_cast<BenchConfig&>(request));
  request.overrides = options.training_keys;
  LT2_CHECK(request.ckpt.empty() || request.config.empty(), "lt2 bench: give either ckpt=DIR,.. or config=FILE,..");
  LT2_CHECK(request.own_model() || request.overrides.empty(),
            "lt2 bench: {} changes a configuration; give config=FILE with it",
            request.overrides.empty() ? "" : request.overrides[0]);
  request.in_grid = !request.grid.empty() || (!request.own_model() && request.frontier.empty());
  request.modes = request.mode;
  if (request.modes.empty()) request.modes = {"prefill", "decode"};
  if (request.mode.empty() && !request.in_grid) request.modes.insert(request.modes.begin(), "train");
  LT2_CHECK(!request.in_grid || !request.wants("train"),
            "lt2 bench: the grid does not train; mode= takes prefill and decode");
  request.labels = labels_of(request);
  request.row_seconds = request.seconds.value_or(request.in_grid ? 1 : 2);
  if (request.weights) request.format = parse_weight_format(*request.weights, "weights");
  refuse_keys_without_effect(options, request);
  if (request.seq_len) {
    LT2_CHECK(request.contexts.empty() && request.prompts.empty(),
              "lt2 bench: seq_len stands for contexts and prompts; leave those out");
    request.contexts = {*request.seq_len};
    request.prompts = {*request.seq_len};
  }
  LT2_CHECK(request.in_grid || !request.frontier.empty() || request.batch.size() <= 1,
            "batch must be one number without grid=default; found {}", fmt::join(request.batch, ","));
  return request;
}

}  // namespace lt2
