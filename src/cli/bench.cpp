// lt2 bench: speed and its floor, of the recipes' shapes or of the user's models; the out-of-memory frontier.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/output.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/bench_output.h"
#include "cli/bench_request.h"
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

// Reserved for the system and for memory that no plan counts.
constexpr int64_t kMemoryMargin = int64_t{1} << 30;
// The frontier in the grid's figure.
const std::vector<int64_t> kUsualMemories = {int64_t{24} << 30, int64_t{80} << 30};

void time_own_models(const BenchRequest& request, const std::vector<OwnModel>& models, const MachineLimits& limits,
                     BenchOutput& output) {
  for (const auto& own : models) {
    print_out("{}: {} parameters, {} layer calls a token\n", own.timed.label,
              human_count(static_cast<double>(parameter_count(*own.timed.model))), effective_depth(*own.timed.model));
  }
  BenchOutput::print_header();
  const OwnOptions options{.modes = request.modes,
                           .contexts = request.contexts,
                           .batch = request.batch.empty() ? std::nullopt : std::optional(request.batch.front()),
                           .seconds = request.row_seconds};
  time_models(models, options, limits, [&](const SpeedRow& row) { output(row); });
}

std::vector<int64_t> sorted(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

GridOptions grid_options(const BenchRequest& request, int64_t memory) {
  GridOptions options;
  options.modes = request.modes;
  if (!request.contexts.empty()) options.contexts = sorted(request.contexts);
  if (!request.prompts.empty()) options.prompts = sorted(request.prompts);
  if (!request.batch.empty()) options.batches = sorted(request.batch);
  if (request.dtype) options.dtype = parse_dtype(*request.dtype, "dtype");
  options.weights = request.format;
  options.minutes = request.minutes;
  options.memory = memory;
  options.seconds = request.row_seconds;
  return options;
}

/// The frontiers of one model, tried with its weights in memory if `try_them`.
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

/// The requested models, each with the bytes of its own tensors after it has run.
std::vector<OwnModel> open_models(const BenchRequest& request) {
  std::vector<OwnModel> models;
  const bool trained = !request.ckpt.empty();
  const auto& places = trained ? request.ckpt : request.config;
  for (size_t i = 0; i < places.size(); ++i) {
    const int64_t before = tensor_pool_counts().live_bytes;
    const auto source =
        model_source(trained ? places[i] : "", trained ? "" : places[i], request.overrides, request.dtype);
    if (request.format && weight_format_name(*source.model) != weight_format_name(*request.format)) {
      LT2_CHECK(request.in_grid || !request.wants("train"),
                "weights= packs them, so nothing can be trained; give mode=");
      pack_weights(*source.model, *request.format);
    }
    OwnModel own{.timed = {.model = source.model, .label = request.labels[i]},
                 .recompute = request.recompute,
                 .seq_len = request.seq_len.value_or(source.config.data.seq_len),
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

/// The recipes with the requested shapes and layouts.
std::vector<BenchModel> chosen_recipes(const BenchRequest& request) {
  const auto wanted = [](const std::vector<std::string>& names, const std::string& name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  };
  std::vector<BenchModel> models;
  for (auto& model : recipe_models()) {
    if (wanted(request.shapes, model.shape) && wanted(request.layouts, model.layout)) models.push_back(model);
  }
  LT2_CHECK(!models.empty(), "shapes= and layouts= leave no model");
  return models;
}

int run(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  const auto request = read_request(arguments);
  BenchOutput output(request.output, request.figure);
  const int64_t memory = request.memory.value_or(std::max<int64_t>(0, available_memory() - kMemoryMargin));
  std::vector<OwnModel> own;
  std::vector<BenchModel> models;
  if (request.own_model()) {
    own = open_models(request);
    for (const auto& [timed, recompute, seq_len, batch_size] : own)
      models.push_back({.shape = "", .layout = timed.label, .config = timed.model->config(), .model = timed.model});
  } else {
    models = chosen_recipes(request);
  }
  const auto limits = measure_machine();
  BenchOutput::print_machine(limits);
  auto options = grid_options(request, memory);
  if (!own.empty()) options.dtype = own.front().timed.model->compute_type;
  if (request.in_grid) {
    BenchOutput::print_header();
    run_grid(models, options, limits, seconds_since(begin),
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
  if (request.in_grid || asked) {
    // The grid's figure also shows the frontier, which takes no time to compute.
    const auto memories = asked ? sorted(request.frontier) : kUsualMemories;
    print_out("\n");
    BenchOutput::print_frontier_header();
    for (const auto& model : models) add_frontiers(model, memories, options, asked, output);
  }
  output.draw(limits);
  return 0;
}

}  // namespace

Command bench_command() {
  return {
      .name = "bench",
      .summary = "time decoding, prefill and training and print their floors",
      .about =
          "Prints each figure next to its floor: what the bytes or operations alone would take at this machine's "
          "measured limits. Without a model: the grid, layouts at the recipes' shapes with random weights, contexts "
          "1k to 64k (synthetic states), batches 1, 8 and 32, prompts at batch 1; rows for which time or memory "
          "does not suffice are listed with the reason. With models: decode is one token after each context, "
          "prefill and train data.seq_len tokens (or contexts=); several models take turns, and `ratio` is each "
          "one's speed over the first one's. frontier= computes the largest context that fits each memory and "
          "tries it here. Figures are medians, `half` is where the middle half of the runs lies, ~ marks what varies "
          "by more than 10 % or ran less than three times; `of 1st` compares with what the bytes predict from the "
          "first context. `lt2 benchmark_prefill --config FILE --seq-len N` is the official name: prefill and "
          "decode at one length.",
      .usage = {"bench [minutes=10] [shapes=0.6B,1.3B,plain] [layouts=full,gdn,...] [key=value ...]",
                "bench ckpt=DIR,..|config=FILE,.. [mode=train,prefill,decode] [contexts=1k,4k,32k] [key=value ...]",
                "bench frontier=24G,80G [shapes=...] [layouts=...] [batch=1,8,32]"},
      .examples = {"bench output=bench.jsonl figure=bench.html",
                   "bench config=configs/tiny/hybrid.yaml mode=decode contexts=1k,32k"},
      .keys = {keys_with<BenchConfig>("keys")},
      .run = run,
      .takes_training_keys = true};
}

}  // namespace lt2
