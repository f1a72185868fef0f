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
  double mfu = kAbsent;  // share of the machine's peak
  double loops = kAbsent, total_tokens = kAbsent;
  double time = kAbsent;          // when it was logged, seconds since 1970
  std::vector<float> unit_norms;  // of the gradient, in the order of RunRecord::units; may be shorter
};

struct ValidationPoint {
  double loss_per_token = kAbsent;  // nats
  double bits_per_byte = kAbsent;
};

struct BenchRow {
  // "decode", "prefill", "train"; "skipped" (not run), "frontier" (largest context), "machine" (its limits before and
  // after a run of the benchmark)
  std::string kind, model, dtype;
  std::string shape;              // of a recipe; empty: the run's own model
  double context = kAbsent;       // tokens before the measured one; a frontier without end has none
  double tokens_per_s = kAbsent;  // measured: the median
  double tokens_per_s_low = kAbsent, tokens_per_s_high = kAbsent;  // the middle half of the runs lies between
  double repeats = kAbsent;                                        // runs
  bool noisy = false;    // they lie too far apart, or are too few; machine: its limits moved
  std::string baseline;  // the model that took turns with this one; empty: none
  double speed_ratio = kAbsent, speed_ratio_low = kAbsent, speed_ratio_high = kAbsent;  // over the baseline, in pairs
  bool speed_ratio_noisy = false;
  double floor_tokens_per_s = kAbsent;  // what the machine's measured limits allow
  double share = kAbsent;               // tokens_per_s / floor_tokens_per_s
  double state_bytes = kAbsent;
  double batch = kAbsent;
  double first_token_s = kAbsent, predicted_share = kAbsent, peak_bytes = kAbsent;
  bool predicted_share_noisy = false;
  double planned_bytes = kAbsent;  // weights, states and scratch together
  std::string mode, reason;        // skipped: the kind it would have been, and why; machine: how its limits moved
  double memory_bytes = kAbsent;   // frontier: what the context fits into
  double refused_context = kAbsent, tried_context = kAbsent, resident_bytes = kAbsent;

  /// Of a model and only a time: what a run's own page compares.
  bool own_time() const { return shape.empty() && kind != "skipped" && kind != "frontier" && kind != "machine"; }
};

struct Sample {
  std::string when, prompt, text;
  double step = kAbsent;
};

struct RunRecord {
  std::string name;                                                     // of the folder
  std::map<double, TrainPoint> train;                                   // by step
  std::vector<std::string> units;                                       // groups of layers with gradient norms
  std::map<std::string, std::map<double, ValidationPoint>> validation;  // by source, then step
  std::vector<BenchRow> bench;  // a repeated measurement replaces the earlier one
  std::vector<Sample> samples;
  nlohmann::ordered_json machine, model;  // objects, or null
  std::optional<std::string> commands, config;
  double steps = kAbsent;          // of the whole run, as configured
  std::vector<std::string> notes;  // what was skipped, and why
};

/// Reads config.yaml, metrics.jsonl, metrics.validation.jsonl, samples.json, bench.jsonl, machine.json, commands.txt
/// and model.json of `folder`; each may be missing, but not both metrics.jsonl and bench.jsonl. A last line without a
/// line end that does not parse (the writer was killed) is skipped with a note; steps that a resumed run repeated
/// replace the old ones. Throws lt2::Error with file and line for anything else that cannot be read.
RunRecord read_run(const std::filesystem::path& folder);

/// The rows of `text`, lines of bench.jsonl; `where` names it in errors. Throws lt2::Error.
std::vector<BenchRow> parse_bench(const std::string& text, const std::string& where);

/// A run that is still writing: reads of metrics.jsonl only what came since the last look.
class RunFollower {
 public:
  /// The folder must be there; its files may come later. Throws lt2::Error.
  explicit RunFollower(std::filesystem::path folder);

  /// Takes in what is new. Throws as read_run, and then again until the file is put right; what was read before stays.
  /// A line that has no end yet is left for later.
  void refresh();

  const RunRecord& run() const { return run_; }
  /// Grows with everything taken in.
  int64_t version() const { return version_; }
  /// Another number whenever steps that were there before are gone: the run was resumed from a checkpoint.
  int64_t epoch() const { return epoch_; }
  /// Seconds since metrics.jsonl was last written, NaN if it is not there.
  double silent_s() const;

 private:
  void read_new_lines();
  std::string others() const;

  std::filesystem::path folder_;
  RunRecord run_;
  int64_t epoch_ = 0, version_ = 0;
  uint64_t device_ = 0, inode_ = 0, offset_ = 0;  // of metrics.jsonl: which file, and what of it was read
  int64_t line_ = 0, resumed_ = 0;
  std::string others_;  // sizes and times of the other files when they were read
};

}  // namespace lt2
