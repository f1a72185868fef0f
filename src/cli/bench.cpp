// lt2 bench ckpt=DIR|config=FILE [mode=...]: speed beside its floor.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/source.h"
#include "measure/speed.h"
#include "model/accounting.h"

namespace lt2 {
namespace {

std::string help() {
  return "usage: lt2 bench ckpt=DIR|config=FILE [mode=train,prefill,decode] [contexts=1k,4k,32k] [batch=N] "
         "[dtype=fp32|bf16]\n"
         "                 [recompute=none,loop,block,layer] [seconds=S] [label=NAME] [output=FILE] [key.sub=value "
         "...]\n\n"
         "Times the model and prints each figure beside its floor. decode: one token after each context (synthetic "
         "state), floor = bytes of weights and\n"
         "state over the measured read bandwidth; `of 1st` compares with what these bytes predict from the first "
         "context's own figure. prefill, train:\n"
         "data.seq_len tokens (or contexts=), floor = operations over the measured fp32 rate.\n"
         "`memory` is the state after the context; of train the most that tensors took during a step, which "
         "recompute=none,loop,block,layer trades for time.\n"
         "output=FILE appends one JSON line a row. Random weights (config=) are as fast as trained ones.\n"
         "`lt2 benchmark_prefill` is another name for this command.\n\n"
         "example: lt2 bench config=configs/tiny/hybrid.yaml mode=decode contexts=1k,32k\n";
}

void print_header() {
  fmt::print("{:<8} {:<10} {:>8} {:>6} {:>6} {:>12} {:>12} {:>7} {:>12} {:>6}\n", "mode", "model", "context", "batch",
             "dtype", "tokens/s", "floor", "share", "memory", "of 1st");
}

void print_row(const SpeedRow& row) {
  const bool decode = row.mode == "decode";
  fmt::print("{:<8} {:<10} {:>8} {:>6} {:>6} {:>12.1f} {:>12.1f} {:>6.0f}% {:>12} {:>6}\n", row.mode, row.model,
             row.context, row.batch, row.dtype, row.tokens_per_s, row.floor_tokens_per_s, 100 * row.share,
             human_bytes(static_cast<double>(row.mode == "train" ? row.peak_bytes : row.state_bytes)),
             decode ? fmt::format("{:.2f}", row.predicted_share) : "");
  std::fflush(stdout);
}

std::vector<std::string> parse_modes(const std::string& text) {
  std::vector<std::string> modes;
  std::istringstream words(text);
  for (std::string mode; std::getline(words, mode, ',');) {
    LT2_CHECK(mode == "train" || mode == "prefill" || mode == "decode",
              "mode must be train, prefill, decode or several with commas; found \"{}\"", text);
    modes.push_back(mode);
  }
  LT2_CHECK(!modes.empty(), "mode must be train, prefill, decode or several with commas; found \"\"");
  return modes;
}

// All that a run of the command needs, read before anything slow.
struct Request {
  std::vector<std::string> modes;
  std::optional<std::vector<int64_t>> contexts;
  std::optional<int64_t> batch;
  double seconds = 2;
  std::string ckpt, config, dtype, label, output;
  std::vector<std::string> recompute;  // train: levels; empty: the configuration's

  bool wants(const char* mode) const { return std::find(modes.begin(), modes.end(), mode) != modes.end(); }
};

double parse_seconds(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc() && end == text.data() + text.size();
  LT2_CHECK(number && value > 0 && std::isfinite(value), "seconds must be a number above 0; found \"{}\"", text);
  return value;
}

int64_t parse_batch(const std::string& text) {
  const auto counts = parse_counts(text, "batch");
  LT2_CHECK(counts.size() == 1, "batch must be one number; found \"{}\"", text);
  return counts[0];
}

Request take_request(std::vector<std::string>& words) {
  const auto word_or = [&](const char* key, const char* otherwise) {
    const auto value = take_word(words, key);
    return value.empty() ? std::string(otherwise) : value;
  };
  Request request{.modes = parse_modes(word_or("mode", "train,prefill,decode")),
                  .contexts = {},
                  .batch = {},
                  .seconds = parse_seconds(word_or("seconds", "2")),
                  .ckpt = take_word(words, "ckpt"),
                  .config = take_word(words, "config"),
                  .dtype = take_word(words, "dtype"),
                  .label = word_or("label", "model"),
                  .output = take_word(words, "output")};
  std::istringstream levels(take_word(words, "recompute"));
  for (std::string level; std::getline(levels, level, ',');) {
    parse_recompute(level, "recompute");
    request.recompute.push_back(level);
  }
  if (const auto text = take_word(words, "contexts"); !text.empty()) request.contexts = parse_counts(text, "contexts");
  if (const auto text = take_word(words, "batch"); !text.empty()) request.batch = parse_batch(text);
  return request;
}

int run(const Arguments& arguments) {
  auto words = arguments.words;
  const auto request = take_request(words);
  std::ofstream output;
  if (!request.output.empty()) {
    output.open(request.output, std::ios::app);
    LT2_CHECK(output.is_open(), "output: {}: cannot open it for appending", request.output);
  }
  auto source = open_model(request.ckpt, request.config, words,
                           request.dtype.empty() ? std::nullopt : std::optional(request.dtype));
  auto& model = *source.model;
  const auto limits = measure_machine();
  fmt::print("{}, {} threads: {:.0f} GFLOP/s fp32, {:.1f} GB/s read; {} parameters, {} layer calls a token\n",
             cpu_info().name, num_threads(), limits.fma_gflops, limits.read_gbps,
             human_count(static_cast<double>(parameter_count(model))), effective_depth(model));
  print_header();
  const auto keep = [&](const SpeedRow& row) {
    print_row(row);
    if (!output.is_open()) return;
    output << to_json(row) << '\n' << std::flush;
    LT2_CHECK(output.good(), "{}: cannot append to it (disk full?)", request.output);
  };
  const auto& data = source.config.data;
  if (request.wants("train")) {
    const int64_t batch = request.batch.value_or(data.batch_size);
    auto levels = request.recompute;
    if (levels.empty()) levels.push_back(source.config.distributed.activation_checkpointing);
    for (const auto& level : levels) {
      model.recompute = parse_recompute(level, "distributed.activation_checkpointing");
      const auto label = level == "none" ? request.label : request.label + "/" + level;
      keep(train_speed(model, label, data.seq_len, batch, limits, 3));
    }
  }
  if (request.wants("prefill")) {
    for (const int64_t length : request.contexts.value_or(std::vector<int64_t>{data.seq_len}))
      keep(prefill_speed(model, request.label, length, request.batch.value_or(1), limits, 3));
  }
  if (request.wants("decode")) {
    const auto contexts = request.contexts.value_or(parse_counts("1k,2k,4k,8k,16k,32k", "contexts"));
    for (const auto& row :
         decode_speed(model, request.label, contexts, request.batch.value_or(1), limits, request.seconds))
      keep(row);
  }
  return 0;
}

}  // namespace

Command bench_command() { return {"bench", "time decoding, prefill and training beside their floors", help, run, {}}; }

}  // namespace lt2
