#pragma once
// Keys that a configuration sets and nothing reads: those of mixers without a layer, of another scheduler, of a trace
// that is not written. Nothing is dropped silently: validate() reports each of them once.
#include <string>
#include <vector>

#include "config/train_config.h"

namespace lt2 {

struct UnusedKeys {
  struct Reason {
    std::vector<std::string> keys;  // whole: "model.gdn_head_dim"
    std::string why;
  };
  std::vector<Reason> reasons;

  void add(std::vector<std::string> keys, std::string why) { reasons.push_back({std::move(keys), std::move(why)}); }
  bool contains(const std::string& key) const;
};

/// The keys of `model` that do not change what the model computes. `model` must be validated. The list leaves out keys
/// that no configuration uses (Check::ignored).
UnusedKeys unused_model_keys(const ModelConfig& model);

/// The same for all keys. `config` must be validated.
UnusedKeys unused_keys(const TrainConfig& config, const ValidateOptions& options);

/// One line for each reason, with the keys whose values are not their defaults: "no effect: model.gdn_head_dim=16,
/// model.gdn_expand_v=1.0: no layer is gdn". `given`: the configuration before validate() filled it.
std::vector<std::string> unused_lines(TrainConfig given, const UnusedKeys& unused);

}  // namespace lt2
