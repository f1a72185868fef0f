// lt2 bench ckpt=DIR|config=FILE [mode=...]: speed beside its floor.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
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
         "                 [seconds=S] [label=NAME] [output=FILE] [key.sub=value ...]\n\n"
         "Times the model and prints each figure beside its floor. decode: one token after each context (synthetic "
         "state), floor = bytes of weights and\n"
         "state over the measured read bandwidth; `of 1k` compares with what these bytes predict from the first "
         "context's own figure. prefill, train:\n"
         "data.seq_len tokens (or contexts=), floor = operations over the measured fp32 rate.\n"
         "output=FILE appends one JSON line a row. Random weights (config=) are as fast as trained ones.\n\n"
         "example: lt2 bench config=configs/tiny/hybrid.yaml mode=decode contexts=1k,32k\n";
}

void print_header() {
  fmt::print("{:<8} {:<10} {:>8} {:>6} {:>6} {:>12} {:>12} {:>7} {:>12} {:>6}\n", "mode", "model", "context", "batch",
             "dtype", "tokens/s", "floor", "share", "state", "of 1st");
}

void print_row(const SpeedRow& row) {
  const bool decode = row.mode == "decode";
  fmt::print("{:<8} {:<10} {:>8} {:>6} {:>6} {:>12.1f} {:>12.1f} {:>6.0f}% {:>12} {:>6}\n", row.mode, row.model,
             row.context, row.batch, row.dtype, row.tokens_per_s, row.floor_tokens_per_s, 100 * row.share,
             row.mode == "train" ? "" : human_bytes(static_cast<double>(row.state_bytes)),
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

int run(const Arguments& arguments) {
  auto words = arguments.words;
  const auto word_or = [&](const char* key, const char* otherwise) {
    const auto value = take_word(words, key);
    return value.empty() ? std::string(otherwise) : value;
  };
  const auto ckpt = take_word(words, "ckpt"), config = take_word(words, "config"), output = take_word(words, "output");
  const auto modes = parse_modes(word_or("mode", "train,prefill,decode"));
  const auto contexts_text = take_word(words, "contexts"), dtype = take_word(words, "dtype");
  const auto batch_text = take_word(words, "batch"), label = word_or("label", "model");
  const double seconds = std::stod(word_or("seconds", "2"));
  auto source = open_model(ckpt, config, words, dtype.empty() ? std::nullopt : std::optional(dtype));
  auto& model = *source.model;
  const auto limits = measure_machine();
  fmt::print("{}, {} threads: {:.0f} GFLOP/s fp32, {:.1f} GB/s read; {} parameters, {} layer calls a token\n",
             cpu_info().name, num_threads(), limits.fma_gflops, limits.read_gbps,
             human_count(static_cast<double>(parameter_count(model))), effective_depth(model));
  std::vector<SpeedRow> rows;
  const auto wants = [&](const char* mode) { return std::find(modes.begin(), modes.end(), mode) != modes.end(); };
  print_header();
  const auto keep = [&](const SpeedRow& row) {
    print_row(row);
    rows.push_back(row);
  };
  if (wants("train")) {
    const int64_t batch =
        batch_text.empty() ? source.config.data.batch_size : parse_counts(batch_text, "batch").front();
    keep(train_speed(model, label, source.config.data.seq_len, batch, limits, 3));
  }
  if (wants("prefill")) {
    const int64_t batch = batch_text.empty() ? 1 : parse_counts(batch_text, "batch").front();
    const auto lengths = contexts_text.empty() ? std::vector<int64_t>{source.config.data.seq_len}
                                               : parse_counts(contexts_text, "contexts");
    for (const int64_t length : lengths) keep(prefill_speed(model, label, length, batch, limits, 3));
  }
  if (wants("decode")) {
    const int64_t batch = batch_text.empty() ? 1 : parse_counts(batch_text, "batch").front();
    const auto contexts = parse_counts(contexts_text.empty() ? "1k,2k,4k,8k,16k,32k" : contexts_text, "contexts");
    for (const auto& row : decode_speed(model, label, contexts, batch, limits, seconds)) keep(row);
  }
  if (!output.empty()) {
    std::ofstream file(output, std::ios::app);
    for (const auto& row : rows) file << to_json(row) << '\n';
    file.flush();
    LT2_CHECK(file.good(), "{}: cannot append to it", output);
  }
  return 0;
}

}  // namespace

Command bench_command() { return {"bench", "time decoding, prefill and training beside their floors", help, run, {}}; }

}  // namespace lt2
