#pragma once
// One checkpoint, three forms on disk:
//
//   lt2       a run's checkpoints/NNNNNNNNNN/: model.safetensors, optimizer.safetensors, params.json, train_state.json
//   official  a folder with consolidated.pth ({"model": .., "optim": ..}, a file of torch.save) and params.json
//   hf        a model folder: config.json and (sharded) safetensors; weights only. Models of type ouro get the names
//             and keys of the published ones (model/ouro_folder.h)
//
// Parameters have the official names in all others. What only one program knows (params.json, train_state.json) and the
// companions (model/companions.h) travel along, so that going there and back loses nothing and every folder opens
// alone. The hf form says in config.json and generation_config.json which ids begin and end a text.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "checkpoint/safetensors.h"
#include "mixers/mixer.h"

namespace lt2 {

enum class CheckpointForm { kLt2, kOfficial, kHf };

const char* form_name(CheckpointForm form);
/// "lt2" | "official" | "hf"; anything else: lt2::Error naming `field`.
CheckpointForm parse_form(const std::string& name, const std::string& field);

/// A checkpoint of any form, read and checked against its configuration. Tensors are views of mapped files.
struct AnyCheckpoint {
  CheckpointForm form = CheckpointForm::kLt2;
  std::filesystem::path folder;  // or the .pth file
  TrainConfig config;
  std::string params_json;                   // the run's configuration; empty if the source has none
  std::optional<TokenizerConfig> tokenizer;  // see find_tokenizer (model/companions.h)
  NamedTensors parameters;                   // official names, in the model's order, F32, BF16 or F16
  NamedTensors optimizer;                    // as optimizer.safetensors has it; empty if the source has none
  std::optional<std::string> train_state;    // train_state.json
};

/// Opens what `path` is: a folder of one of the three forms, a run's dump directory (its latest complete checkpoint) or
/// a .pth file with params.json beside it. Throws lt2::Error that says what does not fit the configuration, or what was
/// expected in the folder.
AnyCheckpoint open_checkpoint(const std::filesystem::path& path);

struct ConvertOptions {
  CheckpointForm to = CheckpointForm::kLt2;
  torch::ScalarType dtype = torch::kFloat32;  // hf: type of the weights; the other forms hold fp32 masters
  uint64_t shard_bytes = 5'000'000'000;       // hf: most bytes of tensors in a file
};

/// Writes `folder`, which must not exist, aside and renames it.
void write_checkpoint(const AnyCheckpoint& checkpoint, const std::filesystem::path& folder,
                      const ConvertOptions& options);

}  // namespace lt2
