#pragma once
// A model, opened from any form, written in another (folders/model_folder.h lists the forms).
//
// Parameters have the official names in all forms but Ouro's. What only one program knows (params.json,
// train_state.json) and the companions (folders/companions.h) travel along, so that going there and back loses nothing
// and every folder opens alone. The hf form says in config.json and generation_config.json which ids begin and end a
// text.
#include <cstdint>
#include <filesystem>

#include "folders/model_folder.h"

namespace lt2 {

struct WriteOptions {
  FolderForm to = FolderForm::kLt2;
  torch::ScalarType dtype = torch::kFloat32;  // hf: type of the weights; the other forms hold fp32 masters
  uint64_t shard_bytes = 5'000'000'000;       // hf: most bytes of tensors in a file
};

/// Writes `folder`, which must not exist, aside and renames it. To continue training from it, `from` must have been
/// opened with its training state.
void write_model(const ModelFolder& from, const std::filesystem::path& folder, const WriteOptions& options);

}  // namespace lt2
