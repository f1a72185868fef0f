#pragma once
// The user's models, timed in turns, so that the figures that a page compares were measured at the same time.
#include <functional>
#include <string>
#include <vector>

#include "measure/speed.h"

namespace lt2 {

/// A model and the values of its configuration that the rows need.
struct OwnModel {
  TimedModel timed;
  std::vector<std::string> recompute = {"none"};  // levels to train with
  int64_t seq_len = 0, batch_size = 1;            // of training; of prompts the length
};

struct OwnOptions {
  std::vector<std::string> modes;
  std::vector<int64_t> contexts;  // of decode, and prompts; empty: 1k to 32k, and seq_len
  std::optional<int64_t> batch;   // else batch_size in training, 1 otherwise
  double seconds = 2;             // a row, at most (see Effort)
};

/// Times every model, those after the first against the first: for each mode and context all models take turns, in
/// decoding also with themselves at the first context.
void time_models(const std::vector<OwnModel>& models, const OwnOptions& options, const MachineLimits& limits,
                 const std::function<void(const SpeedRow&)>& done);

}  // namespace lt2
