#pragma once
// Keys that a configuration gives and nothing reads: those of mixers without a layer, of another scheduler, of a trace
// that is not written. Nothing is dropped silently: validate() says each of them once.
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

/// Of the keys of `model`, those that have no part in what the model computes. `model` must be validated. Keys that no
/// configuration uses (Check::ignored) are not in it.
UnusedKeys unused_model_keys(const ModelConfig& model);

/// Of all keys. `config` must be validated.
UnusedKeys unused_keys(const TrainConfig& config, const ValidateOptions& options);

/// "KEY=VALUE" ("KEY=..." of a list or a map) if the field's value is not the usual one.
std::optional<std::string> changed_value(const Field& field, const Field& usual);

/// One line a reason that names the keys whose values are not their defaults: "no effect: model.gdn_head_dim=16,
/// model.gdn_expand_v=1.0: no layer is gdn". `given`: the configuration before validate() filled it.
std::vector<std::string> unused_lines(TrainConfig given, const UnusedKeys& unused);

}  // namespace lt2
