// lt2 bench: speed beside its floor, of the recipes' shapes or of a model of one's own; the out-of-memory frontier.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <optional>
#include <sstream>

#include "base/append_file.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/output.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/source.h"
#include "infer/memory_plan.h"
#include "measure/frontier.h"
#include "measure/grid.h"
#include "measure/speed.h"
#include "model/accounting.h"
#include "model/frozen_model.h"
#include "model/model_io.h"
#include "ops/tensor_pool.h"
#include "report/efficiency.h"

namespace lt2 {
namespace {

// Left to the system and to what no plan counts.
constexpr int64_t kMemoryMargin = int64_t{1} << 30;

std::string help() {
  return "usage: lt2 bench [minutes=10] [shapes=0.6B,1.3B,plain] [layouts=full,gdn,...] [grid options]\n"
         "       lt2 bench frontier=24G,80G [shapes=...] [layouts=...] [batch=1,8,32]\n"
         "       lt2 bench ckpt=DIR|config=FILE [mode=train,prefill,decode] [contexts=1k,4k,32k] [batch=N]\n"
         "                 [recompute=none,loop,block,layer] [label=NAME] [key.sub=value ...]\n"
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
         "output=FILE appends one JSON line a row, figure=FILE.html draws them. `lt2 benchmark_prefill` is another "
         "name "
         "for this command.\n\n"
         "example: lt2 bench output=bench.jsonl figure=bench.html\n"
         "         lt2 bench config=configs/tiny/hybrid.yaml mode=decode contexts=1k,32k\n";
}

std::string name_of(const std::string& shape, const std::string& model) {
  return shape.empty() ? model : shape + " " + model;
}

void print_header() {
  print_out("{:<8} {:<16} {:>8} {:>5} {:>5} {:>10} {:>10} {:>6} {:>9} {:>10} {:>10} {:>6}\n", "mode", "model",
            "context", "batch", "dtype", "tokens/s", "floor", "share", "first", "state", "peak", "of 1st");
}

void print_row(const SpeedRow& row) {
  const bool decode = row.mode == "decode", train = row.mode == "train";
  print_out("{:<8} {:<16} {:>8} {:>5} {:>5} {:>10.1f} {:>10.1f} {:>5.0f}% {:>9} {:>10} {:>10} {:>6}\n", row.mode,
            name_of(row.shape, row.model), row.context, row.batch, row.dtype, row.tokens_per_s, row.floor_tokens_per_s,
            100 * row.share, train ? "" : fmt::format("{:.3f} s", row.first_token_s),
            train ? "" : human_bytes(row.state_bytes), human_bytes(row.peak_bytes),
            decode ? fmt::format("{:.2f}", row.predicted_share) : "");
  flush_out();
}

void print_skipped(const SkippedRow& row) {
  print_out("{:<8} {:<16} {:>8} {:>5} {:>5} not run: {}\n", row.mode, name_of(row.shape, row.model), row.context,
            row.batch, row.dtype, row.reason);
  flush_out();
}

void print_frontier_header() {
  print_out("{:<16} {:>5} {:>5} {:>10} {:>12} {:>10} {:>10} {:>12}  {}\n", "model", "batch", "dtype", "memory",
            "context", "weights", "states", "refused", "tried here");
}

void print_frontier(const FrontierRow& row) {
  std::string tried = row.not_tried.empty() ? "computed only" : "no: " + row.not_tried;
  if (row.tried) {
    tried = fmt::format("{} tokens, {} of states took {}, token in {:.2f} s{}", row.tried_context,
                        human_bytes(row.tried_states), human_bytes(row.resident_bytes), row.step_s,
                        row.not_tried.empty() ? "" : "; all of it " + row.not_tried);
  }
  print_out("{:<16} {:>5} {:>5} {:>10} {:>12} {:>10} {:>10} {:>12}  {}\n", name_of(row.shape, row.model), row.batch,
            row.dtype, human_bytes(row.memory), row.endless() ? "no end" : std::to_string(row.context),
            human_bytes(row.needs.weights), human_bytes(row.needs.states),
            row.endless() ? "" : std::to_string(row.refused_context), tried);
  flush_out();
}

std::vector<std::string> parse_names(const std::string& text, const std::string& key,
                                     const std::vector<std::string>& known) {
  std::vector<std::string> names;
  std::istringstream words(text);
  for (std::string name; std::getline(words, name, ',');) {
    LT2_CHECK(std::find(known.begin(), known.end(), name) != known.end(),
              "{} must be {} or several with commas; found \"{}\"", key, fmt::join(known, ", "), text);
    names.push_back(name);
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
  std::string ckpt, config, dtype, label, output, figure;
  std::vector<std::string> recompute;  // train: levels; empty: the configuration's
  std::vector<std::string> shapes, layouts;
  std::optional<int64_t> memory;
  std::optional<WeightFormat> weights;

  bool own_model() const { return !ckpt.empty() || !config.empty(); }
  bool wants(const char* mode) const { return std::find(modes.begin(), modes.end(), mode) != modes.end(); }
  int64_t batch_or(int64_t otherwise) const { return batches ? batches->front() : otherwise; }
};

std::vector<std::string> names_in(const std::vector<BenchModel>& models, std::string BenchModel::*field) {
  std::vector<std::string> names;
  for (const auto& model : models) {
    if (std::find(names.begin(), names.end(), model.*field) == names.end()) names.push_back(model.*field);
  }
  return names;
}

Request take_request(std::vector<std::string>& words) {
  const auto take = [&](const char* key) { return take_word(words, key); };
  Request request;
  request.ckpt = take("ckpt");
  request.config = take("config");
  request.dtype = take("dtype");
  if (const auto text = take("weights"); !text.empty()) request.weights = parse_weight_format(text, "weights");
  request.output = take("output");
  request.figure = take("figure");
  if (const auto text = take("frontier"); !text.empty()) request.frontier = parse_memories(text, "frontier");
  const auto grid = take("grid");
  LT2_CHECK(grid.empty() || grid == "default", "grid must be default; found \"{}\"", grid);
  request.grid = !grid.empty() || (!request.own_model() && request.frontier.empty());
  const auto mode = take("mode");
  std::vector<std::string> known{"prefill", "decode"};
  if (!request.grid) known.insert(known.begin(), "train");
  request.modes = mode.empty() ? known : parse_names(mode, "mode", known);
  const auto seconds = take("seconds"), minutes = take("minutes"), label = take("label"), memory = take("memory");
  request.seconds = seconds.empty() ? (request.grid ? 1 : 2) : parse_positive(seconds, "seconds");
  if (!minutes.empty()) request.minutes = parse_positive(minutes, "minutes");
  request.label = label.empty() ? "model" : label;
  if (!memory.empty()) request.memory = parse_memories(memory, "memory").front();
  const auto models = recipe_models();
  for (auto [key, field, wanted] : {std::tuple{"shapes", &BenchModel::shape, &request.shapes},
                                    std::tuple{"layouts", &BenchModel::layout, &request.layouts}}) {
    *wanted = names_in(models, field);
    if (const auto text = take(key); !text.empty()) *wanted = parse_names(text, key, *wanted);
  }
  if (const auto text = take("recompute"); !text.empty()) {
    std::istringstream levels(text);
    for (std::string level; std::getline(levels, level, ',');) {
      parse_recompute(level, "recompute");
      request.recompute.push_back(level);
    }
  }
  if (const auto text = take("contexts"); !text.empty()) request.contexts = parse_counts(text, "contexts");
  if (const auto text = take("prompts"); !text.empty()) request.prompts = parse_counts(text, "prompts");
  if (const auto text = take("batch"); !text.empty()) request.batches = parse_counts(text, "batch");
  LT2_CHECK(request.grid || !request.frontier.empty() || !request.batches || request.batches->size() == 1,
            "batch must be one number without grid=default; found {}", fmt::join(*request.batches, ","));
  return request;
}

/// What comes out: the table, JSON lines and the figure.
class Output {
 public:
  explicit Output(const Request& request) : request_(request) {
    if (!request.figure.empty()) {  // said now, not after ten minutes
      const AtomicFile probe(request.figure);
    }
    if (!request.output.empty()) file_.emplace(request.output);
  }
  void operator()(const SpeedRow& row) {
    print_row(row);
    keep(to_json(row));
  }
  void operator()(const SkippedRow& row) {
    print_skipped(row);
    keep(to_json(row));
  }
  void operator()(const FrontierRow& row) {
    print_frontier(row);
    keep(to_json(row));
  }
  void draw(const MachineLimits& limits) const {
    if (request_.figure.empty()) return;
    const auto machine =
        fmt::format("{}, {} threads; measured limits: {}.", cpu_info().name, num_threads(), limits.text());
    write_file_atomically(request_.figure, render_efficiency_page(parse_bench(lines_, "bench"), machine));
    print_out("{}\n", request_.figure);
  }

 private:
  void keep(const std::string& line) {
    lines_ += line + '\n';
    if (file_) file_->append(line + '\n');
  }

  const Request& request_;
  std::optional<AppendFile> file_;
  std::string lines_;
};

void print_machine(const MachineLimits& limits) {
  print_out("{}, {} threads: {}\n", cpu_info().name, num_threads(), limits.text());
}

void time_own_model(const Request& request, const ModelSource& source, const MachineLimits& limits, Output& output) {
  auto& model = *source.model;
  const auto& data = source.config.data;
  const Effort effort{.seconds = request.seconds};
  print_out("{} parameters, {} layer calls a token\n", human_count(static_cast<double>(parameter_count(model))),
            effective_depth(model));
  print_header();
  if (request.wants("train")) {
    auto levels = request.recompute;
    if (levels.empty()) levels.push_back(source.config.distributed.activation_checkpointing);
    for (const auto& level : levels) {
      model.recompute = parse_recompute(level, "distributed.activation_checkpointing");
      const auto label = level == "none" ? request.label : request.label + "/" + level;
      output(train_speed(model, label, data.seq_len, request.batch_or(data.batch_size), limits, 3));
    }
  }
  if (request.wants("prefill")) {
    for (const int64_t length : request.contexts.value_or(std::vector<int64_t>{data.seq_len}))
      output(prefill_speed(model, request.label, length, request.batch_or(1), limits, effort));
  }
  if (request.wants("decode")) {
    std::optional<double> first_share;
    for (const int64_t context : request.contexts.value_or(parse_counts("1k,2k,4k,8k,16k,32k", "contexts"))) {
      auto row = decode_speed(model, request.label, context, request.batch_or(1), limits, effort);
      if (!first_share) first_share = row.share;
      row.predicted_share = row.share / *first_share;
      output(row);
    }
  }
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
                   bool try_them, Output& output) {
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

int run(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  auto words = arguments.words;
  const auto request = take_request(words);
  Output output(request);
  const int64_t memory = request.memory.value_or(std::max<int64_t>(0, available_memory() - kMemoryMargin));
  std::vector<BenchModel> models;
  std::optional<ModelSource> source;
  if (request.own_model() || !words.empty()) {
    source = open_model(request.ckpt, request.config, words,
                        request.dtype.empty() ? std::nullopt : std::optional(request.dtype));
    if (request.weights && weight_format_name(*source->model) != weight_format_name(*request.weights)) {
      LT2_CHECK(request.grid || !request.wants("train"),
                "weights= freezes them, so nothing can be trained; give mode=");
      freeze_weights(*source->model, *request.weights);
    }
    models.push_back({.shape = "", .layout = request.label, .config = source->model->config(), .model = source->model});
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
  print_machine(limits);
  auto options = grid_options(request, memory);
  if (source) options.dtype = source->model->compute_type;
  if (request.grid) {
    print_header();
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
    time_own_model(request, *source, limits, output);
  }
  const bool asked = !request.frontier.empty();
  if (request.grid || asked) {
    // The grid's figure shows where memory ends, too; that costs no time.
    const auto memories = asked ? sorted(request.frontier) : parse_memories("24G,80G", "frontier");
    print_out("\n");
    print_frontier_header();
    for (const auto& model : models) add_frontiers(model, memories, options, asked, output);
  }
  output.draw(limits);
  return 0;
}

}  // namespace

Command bench_command() { return {"bench", "time decoding, prefill and training beside their floors", help, run, {}}; }

}  // namespace lt2
