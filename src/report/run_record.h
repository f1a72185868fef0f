#pragma once
// What a run left in its folder, read and checked. NaN stands for a number that is absent, null or not finite.
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lt2 {

inline constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

struct TrainPoint {
  double loss = kAbsent;  // nats per token
  double learning_rate = kAbsent, grad_norm = kAbsent;
  double tokens_per_s = kAbsent, flops_per_s = kAbsent;
  double loops = kAbsent, total_tokens = kAbsent;
};

struct ValidationPoint {
  double loss_per_token = kAbsent;  // nats
  double bits_per_byte = kAbsent;
};

struct BenchRow {
  std::string kind, model, dtype;
  double context = kAbsent;             // tokens before the measured one
  double tokens_per_s = kAbsent;        // measured
  double floor_tokens_per_s = kAbsent;  // what the machine's measured limits allow
  double share = kAbsent;               // tokens_per_s / floor_tokens_per_s
  double state_bytes = kAbsent;
  double batch = kAbsent;
};

struct Sample {
  std::string when, prompt, text;
  double step = kAbsent;
};

struct RunRecord {
  std::string name;                                                     // of the folder
  std::map<double, TrainPoint> train;                                   // by step
  std::map<std::string, std::map<double, ValidationPoint>> validation;  // by source, then step
  std::vector<BenchRow> bench;  // a repeated measurement replaces the earlier one
  std::vector<Sample> samples;
  nlohmann::ordered_json machine, model;  // objects, or null
  std::optional<std::string> commands, config;
  std::vector<std::string> notes;  // what was skipped, and why
};

/// Reads config.yaml, metrics.jsonl, metrics.validation.jsonl, samples.json, bench.jsonl, machine.json, commands.txt
/// and model.json of `folder`; each may be missing, but not both metrics.jsonl and bench.jsonl. A last line without a
/// line end that does not parse (the writer was killed) is skipped with a note; steps that a resumed run repeated
/// replace the old ones. Throws lt2::Error with file and line for anything else that cannot be read.
RunRecord read_run(const std::filesystem::path& folder);

}  // namespace lt2
