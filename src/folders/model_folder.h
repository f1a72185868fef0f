#pragma once
// The one door to a model: any path that a user names becomes the model's configuration, its parameters, its vocabulary
// and how text is made with it.
//
//   lt2       a run's checkpoints/NNNNNNNNNN/: model.safetensors, optimizer.safetensors, params.json, train_state.json
//   official  consolidated.pth ({"model": .., "optim": ..}, a file of torch.save) with params.json next to it
//   hf        config.json and (sharded) safetensors: Ouro folders as published (model_type ouro), and what
//             `lt2 convert to=hf` wrote (model_type lt2)
//
// lt2 and hf folders may hold weights packed by `lt2 quantize` instead (folders/packed_folder.h).
//
// Weights stay where they are: every tensor is a view of a mapped file, so opening costs no memory, and processes that
// open the same folder share its pages.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "config/train_config.h"
#include "mixers/mixer.h"
#include "model/looped_transformer.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {

inline constexpr const char *kWeightsFile = "model.safetensors", *kPackedFile = "packed.safetensors",
                            *kOptimizerFile = "optimizer.safetensors", *kParamsFile = "params.json",
                            *kTrainStateFile = "train_state.json", *kConsolidatedFile = "consolidated.pth",
                            *kConfigFile = "config.json", *kGenerationFile = "generation_config.json";

enum class FolderForm { kLt2, kOfficial, kHf };

const char* form_name(FolderForm form);
/// "lt2" | "official" | "hf"; anything else: lt2::Error naming `field`.
FolderForm parse_form(const std::string& name, const std::string& field);

/// What generation_config.json recommends; absent: no opinion.
struct GenerationDefaults {
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k, max_new_tokens;
};

/// What a run needs to continue, besides its weights.
struct TrainingState {
  NamedTensors optimizer;              // NAME.exp_avg, NAME.exp_avg_sq, NAME.step of each parameter; may be empty
  std::optional<std::string> loaders;  // train_state.json
};

struct OpenOptions {
  // Replace what the folder says of its loops; only `ouro` models allow it.
  std::optional<int64_t> total_ut_steps;  // loops T
  std::optional<int64_t> early_exit_step;
  std::optional<double> early_exit_threshold;

  bool training_state = false;  // read it, and not how text is made
  bool verify = true;           // false: the caller has just verified all checksums
  bool quiet = false;           // another rank of the run says what is to be said
};

struct ModelFolder {
  FolderForm form = FolderForm::kLt2;
  std::filesystem::path where;    // the folder with the weights
  ModelConfig config;             // validated
  std::filesystem::path weights;  // the file or folder that errors about tensors name
  bool has_params = false;        // params.json is there
  /// What it says, where this program reads it whole, and its text.
  std::optional<TrainConfig> run;
  std::string run_json;
  std::optional<TokenizerConfig> tokenizer;  // see find_tokenizer (folders/companions.h); none: the folder has none
  bool add_bos = false;                      // before a prompt
  // How text is made; not read with OpenOptions::training_state, so that nothing about it can stop a run.
  std::vector<int32_t> stop_ids;  // eos_token_id; empty: the tokenizer's EOS
  GenerationDefaults generation;
  torch::ScalarType dtype = torch::kFloat32;  // of the products, as trained: fp32 or bf16
  NamedTensors parameters;                    // official names, the model's order: views, F32, BF16 or F16
  TrainingState training;                     // empty unless asked for

  // With packed weights `parameters` holds the others.
  std::shared_ptr<SafetensorsFile> packed;
  WeightFormat format = WeightFormat::kF32;  // theirs

  /// A parameter by its official name. Never write to it. Throws lt2::Error if the model has no such parameter.
  const torch::Tensor& weight(const std::string& official_name) const;
  std::vector<std::string> names() const;
  /// The run's configuration, or that of a run which would start from this folder.
  TrainConfig run_config() const;
};

/// Opens what `path` is: a folder of one of the three forms, a run's dump directory or its checkpoints (the latest
/// complete one), or a .pth file. Every file that is read and listed in checksums.json is verified. Throws lt2::Error,
/// one line with file, tensor or key, expected and found, for everything that is missing or does not fit.
ModelFolder open_model(const std::filesystem::path& path, const OpenOptions& options = {});

/// The folder's vocabulary. Throws lt2::Error that says where one was looked for.
std::unique_ptr<Tokenizer> open_tokenizer(const ModelFolder& folder);

/// take_parameters (folders/tensor_source.h) of the folder into `model`, which may be of another configuration. Throws
/// lt2::Error also for packed weights.
void take_parameters(LoopedTransformer& model, const ModelFolder& folder);

/// The folder's model with its own fp32 weights, as training and every other command use it. Products in
/// `compute_type`, or as it was trained.
std::shared_ptr<LoopedTransformer> load_masters(const ModelFolder& folder,
                                                std::optional<torch::ScalarType> compute_type = {});

}  // namespace lt2
