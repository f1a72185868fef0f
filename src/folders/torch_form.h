#pragma once
// The official form of a checkpoint: {"model": {NAME: tensor}, "optim": {"state": .., "param_groups": ..}} in a file of
// torch.save.
#include <filesystem>
#include <memory>

#include "checkpoint/torch_file.h"
#include "config/train_config.h"
#include "folders/tensor_source.h"

namespace lt2 {

/// Such a file, opened; tensors are views of it. All functions throw lt2::Error that names the file and what in it is
/// not as expected.
class TorchCheckpoint {
 public:
  explicit TorchCheckpoint(const std::filesystem::path& path);
  TensorSource model() const;
  /// The optimizer's state, as optimizer.safetensors has it; empty if there is none. `tied`: a tied output may have
  /// state under its own names, which is left out.
  NamedTensors optimizer(const NamedTensors& parameters, bool tied) const;

 private:
  std::shared_ptr<TorchArchive> file_;
};

/// Writes such a file. `optimizer` as optimizer.safetensors has it, empty: without; `config` gives its settings. Throws
/// lt2::Error, beginning with `where`, for more updates than the form's fp32 counter holds.
void write_torch_checkpoint(const std::filesystem::path& path, const NamedTensors& parameters,
                            const NamedTensors& optimizer, const OptimConfig& config, const std::string& where);

}  // namespace lt2
