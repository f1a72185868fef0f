#pragma once
// "ckpt=DIR or config=FILE": the model that several commands work on.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/train_config.h"
#include "folders/model_folder.h"
#include "model/looped_transformer.h"

namespace lt2 {

struct ModelSource {
  std::shared_ptr<LoopedTransformer> model;
  TrainConfig config;
  std::string where;  // checkpoint folder or configuration file
  bool trained = false;
};

/// Loads a checkpoint or a model folder (folders/model_folder.h), or builds the configuration's model with its initial
/// weights (key.sub=value overrides apply to that only). Exactly one of `ckpt` and `config_file` must be non-empty.
/// `dtype` overrides the type of the products.
ModelSource model_source(const std::string& ckpt, const std::string& config_file,
                         const std::vector<std::string>& overrides, const std::optional<std::string>& dtype);

}  // namespace lt2
