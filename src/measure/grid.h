#pragma once
// The efficiency benchmark: models x contexts x batches, planned so that it keeps its limits of time and memory.
//
// Every row has a predicted time from its floor. Before each row the remaining rows are chosen again, the lowest rank
// first, with predictions corrected by the measured times. Rows that are not chosen are reported with the reason.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "measure/random_model.h"
#include "measure/speed.h"

namespace lt2 {

/// What the choice of rows needs to know about a row.
struct RowCost {
  size_t model = 0;    // rows of one model share its setup
  int rank = 0;        // lower: more wanted
  double seconds = 0;  // predicted
};

/// Which rows fit into `seconds`: in order of rank (then of the list), each row that still fits. A model's setup counts
/// with its first row. `setup[m]`: seconds to make model m; 0 once it is made.
std::vector<bool> choose_rows(const std::vector<RowCost>& rows, const std::vector<double>& setup, double seconds);

struct GridOptions {
  std::vector<std::string> modes = {"prefill", "decode"};
  std::vector<int64_t> contexts = {1024, 2048, 4096, 8192, 16384, 32768, 65536};  // of decode, ascending
  std::vector<int64_t> prompts = {1024, 2048, 8192};                              // of prefill, batch 1, ascending
  std::vector<int64_t> batches = {1, 8, 32};
  torch::ScalarType dtype = torch::kBFloat16;
  std::optional<WeightFormat> weights;  // of random models; as dtype unless given. Plans count dtype
  double minutes = 10;                  // for the whole grid
  int64_t memory = 0;                   // bytes that the process may use
  double seconds = 1;                   // of turns a row at most; half of it if they show little noise
};

/// A row that was not run.
struct SkippedRow {
  std::string mode, shape, model, dtype, reason;
  int64_t context = 0, batch = 1, planned_bytes = 0;
  double floor_tokens_per_s = 0;
};

/// The grid's reports while it runs.
struct GridWatch {
  std::function<void(size_t rows, size_t chosen, double seconds)> planned;  // before the first row: predicted seconds
  std::function<void(const SpeedRow&)> done;
  std::function<void(const SkippedRow&)> skipped;
};

/// Runs the rows model by model; one model is in memory at a time. `elapsed_s`: seconds of `minutes` already spent.
void run_grid(const std::vector<BenchModel>& models, const GridOptions& options, const MachineLimits& limits,
              double elapsed_s, const GridWatch& watch);

/// {"kind":"skipped","mode":"decode",...}
std::string to_json(const SkippedRow& row);

}  // namespace lt2
