#pragma once
// Any folder with a model, opened for inference: a run's checkpoint (params.json, official names), an Ouro folder as
// published (config.json of model_type ouro), or a folder that `lt2 convert to=hf` wrote (model_type lt2); with
// weights, or with weights frozen by `lt2 quantize` (model/frozen_model.h).
//
// Weights stay where they are: every tensor is a view of a mapped file, so opening costs no memory, and processes that
// open the same folder share its pages.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "mixers/mixer.h"
#include "model/looped_transformer.h"

namespace lt2 {

/// What generation_config.json recommends; absent: no opinion.
struct GenerationDefaults {
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k, max_new_tokens;
};

/// Replaces what the folder says of its loops; only `ouro` models allow it.
struct ModelFolderOptions {
  std::optional<int64_t> total_ut_steps;  // loops T
  std::optional<int64_t> early_exit_step;
  std::optional<double> early_exit_threshold;
};

struct ModelFolder {
  std::filesystem::path where;               // the folder with the weights
  ModelConfig config;                        // validated
  std::optional<TrainConfig> run;            // params.json, where there is one
  std::optional<TokenizerConfig> tokenizer;  // see find_tokenizer (model/companions.h); none: the folder has none
  bool add_bos = false;                      // before a prompt
  std::vector<int32_t> stop_ids;             // eos_token_id; empty: the tokenizer's EOS
  GenerationDefaults generation;
  torch::ScalarType dtype = torch::kFloat32;  // of the products, as trained: fp32 or bf16
  NamedTensors parameters;                    // official names, the model's order: views, F32, BF16 or F16

  // With frozen weights `parameters` holds the others.
  std::shared_ptr<SafetensorsFile> frozen;
  WeightFormat format = WeightFormat::kF32;  // theirs

  /// A parameter by its official name. Never write to it. Throws lt2::Error if the model has no such parameter.
  const torch::Tensor& weight(const std::string& official_name) const;
  std::vector<std::string> names() const;
};

inline constexpr const char *kFrozenFile = "frozen.safetensors", *kFrozenFormat = "lt2-frozen-1";

/// "fp32", "bf16", "int8", "int4". Throws lt2::Error naming `field`.
WeightFormat parse_weight_format(const std::string& name, const std::string& field);

/// Whether `path` is a folder in Hugging Face's layout (config.json), which open_model_folder reads.
bool is_hf_model_folder(const std::filesystem::path& path);

/// Opens what `path` is. A run's checkpoint may also be given as the run's folder (see resolve_checkpoint). Throws
/// lt2::Error, one line with file, tensor or key, expected and found, for whatever is missing or does not fit.
ModelFolder open_model_folder(const std::filesystem::path& path, const ModelFolderOptions& options = {});

/// copy_parameters (model/model_io.h) of the folder into `model`, which may be of another configuration. Throws
/// lt2::Error also for frozen weights.
void take_parameters(LoopedTransformer& model, const ModelFolder& folder);

/// The folder's model with its own fp32 weights, as training and every other command use it. Products in
/// `compute_type`, or as it was trained.
std::shared_ptr<LoopedTransformer> load_masters(const ModelFolder& folder,
                                                std::optional<torch::ScalarType> compute_type = {});

/// The ids of `eos_token_id` in generation_config.json or else config.json, both in `folder` and optional.
std::vector<int32_t> read_stop_ids(const std::filesystem::path& folder, int64_t vocab_size);

}  // namespace lt2
