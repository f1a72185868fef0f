// lt2 bench: speed beside its floor, of the recipes' shapes or of a model of one's own; the out-of-memory frontier.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "base/output.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/bench_output.h"
#include "cli/command.h"
#include "cli/source.h"
#include "infer/memory_plan.h"
#include "measure/frontier.h"
#include "measure/grid.h"
#include "measure/models.h"
#include "model/accounting.h"
#include "model/packed_weights.h"
#include "ops/dtype.h"
#include "ops/tensor_pool.h"

namespace lt2 {
namespace {

// Left to the system and to what no plan counts.
constexpr int64_t kMemoryMargin = int64_t{1} << 30;

std::string help() {
  return "usage: lt2 bench [minutes=10] [shapes=0.6B,1.3B,plain] [layouts=full,gdn,...] [grid options]\n"
         "       lt2 bench frontier=24G,80G [shapes=...] [layouts=...] [batch=1,8,32]\n"
         "       lt2 bench ckpt=DIR,..|config=FILE,.. [mode=train,prefill,decode] [contexts=1k,4k,32k] [batch=N]\n"
         "                 [recompute=none,loop,block,layer] [label=NAME,..] [key.sub=value ...]\n"
         "       with any of them: [dtype=fp32|bf16] [weights=fp32|bf16|int8|int4] [seconds=S] [output=FILE] "
         "[figure=FILE.html] [memory=N]\n\n"
         "Prints each figure beside its floor: what the bytes or operations alone would take at this machine's "
         "measured "
         "limits.\n\n"
         "Without a model: the grid. Layouts (full, full+gdn, gdn, window, full+kda, dsa+gdn) at the recipes' shapes "
         "with random weights, contexts\n"
         "1k to 64k (synthetic states), batches 1, 8 and 32, prompts at batch 1, all within `minutes`; rows for which "
         "time or memory does not\n"
         "suffice are listed with the reason. grid=default with ckpt= or config=: the same contexts and batches for "
         "that "
         "model. Grid options:\n"
         "mode=prefill,decode, contexts= (of decode), prompts= (of prefill), batch=1,8,32, dtype=bf16.\n\n"
         "frontier=24G,80G: the largest context that fits each memory with weights, states and scratch, computed, then "
         "tried here: a state of that\n"
         "length is filled and a token decoded. The first memory beyond this machine's is tried with what is free; "
         "memory= sets that (default: all\n"
         "that is free).\n\n"
         "With a model: decode is one token after each context, prefill and train data.seq_len tokens (or contexts=). "
         "`first` is the time to the first\n"
         "token (decode: from a state that is there); `of 1st` compares with what the bytes predict from the first "
         "context's own figure.\n"
         "Several models take turns, and `ratio` is each one's speed over the first one's: the median of pairs of "
         "neighbouring turns.\n\n"
         "Figures are medians, `half` is where the middle half of the runs lies. What varies by more than 10 % takes "
         "all "
         "of its `seconds`, the rest half\n"
         "of them; what still varies then, or ran less than three times, is marked ~. The machine's limits are "
         "measured "
         "before and after.\n"
         "output=FILE appends one JSON line a row, figure=FILE.html draws them. `lt2 benchmark_prefill` is another "
         "name "
         "for this command.\n\n"
         "example: lt2 bench output=bench.jsonl figure=bench.html\n"
         "         lt2 bench config=configs/tiny/hybrid.yaml mode=decode contexts=1k,32k\n";
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream words(text);
  for (std::string part; std::getline(words, part, ',');) parts.push_back(part);
  return parts;
}

std::vector<std::string> parse_names(const std::string& text, const std::string& key,
                                     const std::vector<std::string>& known) {
  const auto names = split(text);
  for (const auto& name : names) {
    LT2_CHECK(std::find(known.begin(), known.end(), name) != known.end(),
              "{} must be {} or several with commas; found \"{}\"", key, fmt::join(known, ", "), text);
  }
  LT2_CHECK(!names.empty(), "{} must be {} or several with commas; found \"\"", key, fmt::join(known, ", "));
  return names;
}

/// "24G,80G".
std::vector<int64_t> parse_memories(const std::string& text, const std::string& key) {
  std::vector<int64_t> memories;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',') || memories.empty();) {
    memories.push_back(static_cast<int64_t>(memory_from_text(word, key)));
  }
  return memories;
}

/// "a.yaml,b.yaml"; a name that is there with its comma is one.
std::vector<std::string> split_paths(const std::string& text, const std::string& key) {
  std::error_code none;
  if (text.empty()) return {};
  const auto whole = expand_home(text, key);
  if (std::filesystem::exists(whole, none)) return {whole};
  auto paths = split(text);
  for (auto& path : paths) path = expand_home(path, key);
  return paths;
}

double parse_positive(const std::string& text, const char* key) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc() && end == text.data() + text.size();
  LT2_CHECK(number && value > 0 && std::isfinite(value), "{} must be a number above 0; found \"{}\"", key, text);
  return value;
}

// All that a run of the command needs, read before anything slow.
struct Request {
  bool grid = false;
  std::vector<int64_t> frontier;
  std::vector<std::string> modes;
  std::optional<std::vector<int64_t>> contexts, prompts, batches;
  double seconds = 0, minutes = 10;
  std::vector<std::string> ckpts, configs, labels;
  std::string dtype, output, figure;
  std::vector<std::string> recompute;  // train: levels; empty: the configuration's
  std::vector<std::string> shapes, layouts;
  std::optional<int64_t> memory;
  std::optional<WeightFormat> weights;

  bool own_model() const { return !ckpts.empty() || !configs.empty(); }
  bool wants(const char* mode) const { return std::find(modes.begin(), modes.end(), mode) != modes.end(); }
};

std::vector<std::string> names_in(const std::vector<BenchModel>& models, std::string BenchModel::*field) {
  std::vector<std::string> names;
  for (const auto& model : models) {
    if (std::find(names.begin(), names.end(), model.*field) == names.end()) names.push_back(model.*field);
  }
  return names;
}

/// One name a model, each its own: given, or "model", or the files' names.
std::vector<std::string> labels_of(const Request& request, const std::string& text) {
  const auto& places = request.ckpts.empty() ? request.configs : request.ckpts;
  auto labels = split(text);
  if (text.empty() && places.size() > 1) {
    for (const auto& place : places) labels.push_back(std::filesystem::path(place).lexically_normal().stem().string());
  }
  if (labels.empty()) labels.emplace_back("model");
  LT2_CHECK(places.empty() || labels.size() == places.size(), "label= must name each of the {} models; found \"{}\"",
            places.size(), text);
  const std::set<std::string> different(labels.begin(), labels.end());
  LT2_CHECK(different.size() == labels.size(), "every model needs a name of its own; give label=NAME,.. (found {})",
            fmt::join(labels, ", "));
  return labels;
}

Request take_request(std::vector<std::string>& words) {
  const auto take = [&](const char* key) { return take_word(words, key); };
  Request request;
  request.ckpts = split_paths(take("ckpt"), "ckpt");
  request.configs = split_paths(take("config"), "config");
  request.dtype = take("dtype");
  if (const auto text = take("weights"); !text.empty()) request.weights = parse_weight_format(text, "weights");
  request.output = take_path(words, "output");
  request.figure = take_path(words, "figure");
  if (const auto text = take("frontier"); !text.empty()) request.frontier = parse_memories(text, "frontier");
  const auto grid = take("grid");
  LT2_CHECK(grid.empty() || grid == "default", "grid must be default; found \"{}\"", grid);
  request.grid = !grid.empty() || (!request.own_model() && request.frontier.empty());
  const auto mode = take("mode");
  std::vector<std::string> known{"prefill", "decode"};
  if (!request.grid) known.insert(known.begin(), "train");
  request.modes = mode.empty() ? known : parse_names(mode, "mode", known);
  const auto seconds = take("seconds"), minutes = take("minutes"), memory = take("memory");
  request.labels = labels_of(request, take("label"));
  request.seconds = seconds.empty() ? (request.grid ? 1 : 2) : parse_positive(seconds, "seconds");
  if (!minutes.empty()) request.minutes = parse_positive(minutes, "minutes");
  if (!memory.empty()) request.memory = parse_memories(memory, "memory").front();
  const auto models = recipe_models();
  for (auto [key, field, wanted] : {std::tuple{"shapes", &BenchModel::shape, &request.shapes},
                                    std::tuple{"layouts", &BenchModel::layout, &request.layouts}}) {
    *wanted = names_in(models, field);
    if (const auto text = take(key); !text.empty()) *wanted = parse_names(text, key, *wanted);
  }
  if (const auto text = take("recompute"); !text.empty()) {
    request.recompute = split(text);
    for (const auto& level : request.recompute) parse_recompute(level, "recompute");
  }
  if (const auto text = take("contexts"); !text.empty()) request.contexts = parse_counts(text, "contexts");
  if (const auto text = take("prompts"); !text.empty()) request.prompts = parse_counts(text, "prompts");
  if (const auto text = take("batch"); !text.empty()) request.batches = parse_counts(text, "batch");
  LT2_CHECK(request.grid || !request.frontier.empty() || !request.batches || request.batches->size() == 1,
            "batch must be one number without grid=default; found {}", fmt::join(*request.batches, ","));
  return request;
}

void time_own_models(const Request& request, const std::vector<OwnModel>& models, const MachineLimits& limits,
                     BenchOutput& output) {
  for (const auto& own : models) {
    print_out("{}: {} parameters, {} layer calls a token\n", own.timed.label,
              human_count(static_cast<double>(parameter_count(*own.timed.model))), effective_depth(*own.timed.model));
  }
  BenchOutput::print_header();
  const OwnOptions options{.modes = request.modes,
                           .contexts = request.contexts.value_or(std::vector<int64_t>{}),
                           .batch = request.batches ? std::optional(request.batches->front()) : std::nullopt,
                           .seconds = request.seconds};
  time_models(models, options, limits, [&](const SpeedRow& row) { output(row); });
}

std::vector<int64_t> sorted(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

GridOptions grid_options(const Request& request, int64_t memory) {
  GridOptions options;
  options.modes = request.modes;
  if (request.contexts) options.contexts = sorted(*request.contexts);
  if (request.prompts) options.prompts = sorted(*request.prompts);
  if (request.batches) options.batches = sorted(*request.batches);
  if (!request.dtype.empty()) options.dtype = parse_dtype(request.dtype, "dtype");
  options.weights = request.weights;
  options.minutes = request.minutes;
  options.memory = memory;
  options.seconds = request.seconds;
  return options;
}

/// The frontiers of one model, tried with the weights there if `try_them`.
void add_frontiers(const BenchModel& bench, const std::vector<int64_t>& memories, const GridOptions& options,
                   bool try_them, BenchOutput& output) {
  auto model = bench.model ? bench.model : make_empty_model(bench.config, options.dtype);
  std::vector<FrontierRow> rows;
  for (const int64_t batch : options.batches) {
    for (const int64_t memory : memories) rows.push_back(compute_frontier(*model, batch, memory));
  }
  if (try_them && !bench.model) {
    model.reset();
    tensor_pool_trim();
    model = make_random_model(bench.config, options.dtype, options.weights);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    auto& row = rows[i];
    row.shape = bench.shape;
    row.model = bench.layout;
    if (try_them) {
      tensor_pool_trim();
      const bool first_beyond = i % memories.size() == 0 || rows[i - 1].not_tried.empty();
      const int64_t left = std::min(options.memory - held_weight_bytes(*model), available_memory() - kMemoryMargin);
      try_frontier(*model, row, left, first_beyond);
    }
    output(row);
  }
}

/// The models that were asked for, each with the bytes of tensors that are its own once it has run.
std::vector<OwnModel> open_models(const Request& request, const std::vector<std::string>& overrides) {
  std::vector<OwnModel> models;
  const bool trained = !request.ckpts.empty();
  const size_t count = std::max<size_t>(1, (trained ? request.ckpts : request.configs).size());
  for (size_t i = 0; i < count; ++i) {
    const int64_t before = tensor_pool_counts().live_bytes;
    const auto source = model_source(trained ? request.ckpts[i] : "", request.configs.empty() ? "" : request.configs[i],
                                     overrides, request.dtype.empty() ? std::nullopt : std::optional(request.dtype));
    if (request.weights && weight_format_name(*source.model) != weight_format_name(*request.weights)) {
      LT2_CHECK(request.grid || !request.wants("train"), "weights= packs them, so nothing can be trained; give mode=");
      pack_weights(*source.model, *request.weights);
    }
    OwnModel own{.timed = {.model = source.model, .label = request.labels[i]},
                 .recompute = request.recompute,
                 .seq_len = source.config.data.seq_len,
                 .batch_size = source.config.data.batch_size};
    if (own.recompute.empty()) own.recompute = {source.config.distributed.activation_checkpointing};
    {
      auto state = source.model->make_state(1);
      source.model->step(torch::zeros({1, 1}, torch::kInt64).to(source.model->tok_embeddings.device()), state);
    }
    own.timed.own_bytes = tensor_pool_counts().live_bytes - before;
    models.push_back(std::move(own));
  }
  return models;
}

int run(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  auto words = arguments.words;
  const auto request = take_request(words);
  BenchOutput output(request.output, request.figure);
  const int64_t memory = request.memory.value_or(std::max<int64_t>(0, available_memory() - kMemoryMargin));
  std::vector<BenchModel> models;
  std::vector<OwnModel> own;
  if (request.own_model() || !words.empty()) {
    LT2_CHECK(request.ckpts.empty() || request.configs.empty(), "give either ckpt=DIR,.. or config=FILE,..");
    own = open_models(request, words);
    for (const auto& each : own) {
      const auto& timed = each.timed;
      models.push_back({.shape = "", .layout = timed.label, .config = timed.model->config(), .model = timed.model});
    }
  } else {
    const auto wanted = [](const std::vector<std::string>& names, const std::string& name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    for (auto& model : recipe_models()) {
      if (wanted(request.shapes, model.shape) && wanted(request.layouts, model.layout)) models.push_back(model);
    }
    LT2_CHECK(!models.empty(), "shapes= and layouts= leave no model");
  }
  const auto limits = measure_machine();
  BenchOutput::print_machine(limits);
  auto options = grid_options(request, memory);
  if (!own.empty()) options.dtype = own.front().timed.model->compute_type;
  if (request.grid) {
    BenchOutput::print_header();
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    run_grid(models, options, limits, elapsed,
             {.planned =
                  [&](size_t rows, size_t chosen, double seconds) {
                    log_info("{} of {} rows planned, about {} of at most {} minutes", chosen, rows,
                             human_duration(seconds), request.minutes);
                  },
              .done = [&](const SpeedRow& row) { output(row); },
              .skipped = [&](const SkippedRow& row) { output(row); }});
  } else if (request.frontier.empty()) {
    time_own_models(request, own, limits, output);
  }
  const bool asked = !request.frontier.empty();
  if (!asked) output.machine(limits, measure_machine());
  if (request.grid || asked) {
    // The grid's figure shows where memory ends, too; that costs no time.
    const auto memories = asked ? sorted(request.frontier) : parse_memories("24G,80G", "frontier");
    print_out("\n");
    BenchOutput::print_frontier_header();
    for (const auto& model : models) add_frontiers(model, memories, options, asked, output);
  }
  output.draw(limits);
  return 0;
}

}  // namespace

Command bench_command() { return {"bench", "time decoding, prefill and training beside their floors", help, run, {}}; }

}  // namespace lt2
