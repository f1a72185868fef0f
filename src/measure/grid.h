#pragma once
// The efficiency benchmark: models x contexts x batches, planned so that it ends in time and in memory.
//
// Every row has a predicted time from its floor. Before each row those still to come are chosen anew, the most wanted
// first, with what the rows before them really took; the others are reported with the reason, none is dropped.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "measure/random_model.h"
#include "measure/speed.h"

namespace lt2 {

/// What choosing rows needs to know of one.
struct RowCost {
  size_t model = 0;    // rows of one model share its setup
  int rank = 0;        // lower: more wanted
  double seconds = 0;  // predicted
};

/// Which rows fit into `seconds`: in order of rank (then of the list), each that still fits, its model's setup counted
/// with its first row. `setup[m]`: seconds of making model m; 0 once it is made.
std::vector<bool> choose_rows(const std::vector<RowCost>& rows, const std::vector<double>& setup, double seconds);

struct GridOptions {
  std::vector<std::string> modes = {"prefill", "decode"};
  std::vector<int64_t> contexts = {1024, 2048, 4096, 8192, 16384, 32768, 65536};  // of decode, ascending
  std::vector<int64_t> prompts = {1024, 2048, 8192};                              // of prefill, batch 1, ascending
  std::vector<int64_t> batches = {1, 8, 32};
  torch::ScalarType dtype = torch::kBFloat16;
  std::optional<WeightFormat> weights;  // of random models; as dtype unless given. Plans count dtype
  double minutes = 10;                  // for all of it
  int64_t memory = 0;                   // bytes that the process may use
  double seconds = 1;                   // of turns a row at most, half of it where they are quiet
};

/// A row that was not run.
struct SkippedRow {
  std::string mode, shape, model, dtype, reason;
  int64_t context = 0, batch = 1, planned_bytes = 0;
  double floor_tokens_per_s = 0;
};

/// What the grid tells while it runs.
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
