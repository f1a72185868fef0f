#pragma once
// The request of a run of `lt2 bench`, checked before anything slow starts.
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "config/bench_config.h"
#include "ops/linear/packed_weight.h"

namespace lt2 {

/// The keys as given, and what follows from them.
struct BenchRequest : BenchConfig {
  bool in_grid = false;
  std::vector<std::string> modes;      // at least one
  std::vector<std::string> labels;     // one for each of the user's models
  std::vector<std::string> overrides;  // of the models' configuration
  std::optional<WeightFormat> format;
  double row_seconds = 0;

  bool wants(const std::string& mode) const;
};

/// Throws lt2::Error for impossible requests and for keys that would have no effect.
BenchRequest read_request(const Arguments& arguments);

}  // namespace lt2
