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

/// Takes KEY=VALUE out of `words`; empty if it is not there. Throws lt2::Error if it is there twice.
std::string take_word(std::vector<std::string>& words, const std::string& key);

/// The same for names of files and folders, where ~ at the start is $HOME (config/fields.h).
std::string take_path(std::vector<std::string>& words, const std::string& key);

/// "1024,2048" or "1k,32k" -> numbers >= 1. Throws lt2::Error naming `key`.
std::vector<int64_t> parse_counts(const std::string& text, const std::string& key);

}  // namespace lt2
