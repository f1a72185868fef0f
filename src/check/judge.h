#pragma once
// Collects comparisons of one vector file. Internal to check/.
#include <nlohmann/json.hpp>

#include "check/check.h"
#include "checkpoint/safetensors.h"
#include "config/train_config.h"
#include "model/looped_transformer.h"

namespace lt2::check {

/// A kind of vector that this version does not run.
struct Unsupported {
  std::string why;
};

class Judge {
 public:
  explicit Judge(const CheckOptions& chosen) : options(chosen) {}

  /// max|actual - expected| / max|expected| against `limit`. A shape mismatch is an infinite error.
  void relative(const std::string& name, const torch::Tensor& actual, const torch::Tensor& expected, double limit);
  /// max|actual - expected| against `limit`.
  void absolute(const std::string& name, const torch::Tensor& actual, const torch::Tensor& expected, double limit);
  /// Number of unequal elements against 0.
  void identical(const std::string& name, const torch::Tensor& actual, const torch::Tensor& expected);
  void add(const std::string& name, double error, double limit, bool absolute);

  bool reduced() const { return options.dtype != torch::kFloat32; }

  CheckOptions options;
  std::vector<CheckedTensor> tensors;
};

/// Metadata `key` of a vector file as JSON. Throws lt2::Error if absent or malformed.
nlohmann::json metadata_json(const SafetensorsFile& file, const std::string& key);
/// The model configuration in metadata `config`, validated; absent fields have their defaults.
ModelConfig vector_config(const SafetensorsFile& file);
/// Throws Unsupported if the configuration's layers need a mixer that this version does not have.
void require_known_mixers(const ModelConfig& config);

/// Greedy continuation [B, count] of every row of `prompt` [B, L], as the engine makes it for users: all rows at once.
torch::Tensor greedy(LoopedTransformer& model, const torch::Tensor& prompt, int64_t count, const ExitRule& rule = {});

/// The largest allowed relative error of a layer's output in a 16-bit type: 2e-2; 3e-2 with fewer than 64 channels,
/// where rounding has less to average over.
double reduced_layer_limit(const ModelConfig& config);
/// The same for a whole model's loss: 1e-2; 2e-2 where a layer chooses what it attends to (dsa, nsa), since rounding
/// may swap two close choices.
double reduced_loss_limit(const ModelConfig& config);

/// An `optim` map of a vector file; absent fields have their defaults, unknown ones are skipped.
OptimConfig optim_config(const nlohmann::json& json);

void check_linear(const SafetensorsFile& file, Judge& judge);
void check_attention(const SafetensorsFile& file, Judge& judge);
void check_model(const SafetensorsFile& file, Judge& judge);
/// The kind `ouro` of check_model's format.
void check_ouro(const SafetensorsFile& file, Judge& judge);
void check_training(const SafetensorsFile& file, Judge& judge);
void check_patterns(const nlohmann::json& table, Judge& judge);
void check_schedules(const nlohmann::json& table, Judge& judge);

}  // namespace lt2::check
