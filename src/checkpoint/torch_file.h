#pragma once
// Files of torch.save as tensors: what checkpoint/pickle.h and checkpoint/torch_zip.h describe, made.
#include <filesystem>
#include <string>
#include <vector>

#include "base/torch.h"
#include "checkpoint/torch_zip.h"

namespace lt2 {

/// The tensor of a value of kind kTensor: a view of the mapped file where alignment allows, which stays mapped as long
/// as the tensor lives. Never write to it. Throws lt2::Error if the storage is missing, damaged or of another size.
torch::Tensor tensor_of(const TorchArchive& file, const PickleValue& value);

/// Collects tensors for a file: each becomes one storage, contiguous.
class TorchFileBuilder {
 public:
  Pickle values;  // build the rest of the tree here
  PickleRef tensor(const torch::Tensor& tensor);
  /// Writes `root` and all tensors, one at a time through the CPU's memory; replaces `path` only when complete. Throws
  /// lt2::Error when it cannot be written.
  void write(const std::filesystem::path& path, PickleRef root) const;

 private:
  std::vector<torch::Tensor> tensors_;
};

}  // namespace lt2
