#pragma once
// A model folder as Hugging Face publishes them: config.json, and the weights in model.safetensors or in several
// shards that model.safetensors.index.json lists.
//
//   {"metadata": {"total_size": 2869305344}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors",
//   ...}}
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors.h"

namespace lt2 {

/// Such a folder, opened for reading; tensors are read only when asked for.
class HfFolder {
 public:
  /// Whether the folder looks like one: config.json and weights in safetensors.
  static bool is_one(const std::filesystem::path& folder);

  /// Throws lt2::Error, one line with file, tensor, expected and found: a shard is missing or damaged, index and shards
  /// disagree about a tensor, a tensor is in two shards. An index whose total_size is not that of its tensors is
  /// reported: programs that change a folder leave it, and nothing depends on it.
  explicit HfFolder(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return folder_; }
  /// config.json as it is; only known to be a JSON object.
  const std::string& config() const { return config_; }
  /// In the order of the shards and of their data.
  const std::vector<std::string>& names() const { return names_; }
  bool contains(const std::string& name) const { return shard_of_.count(name) > 0; }
  /// The file that holds the tensor. Throws lt2::Error if there is no such tensor.
  const SafetensorsFile& shard(const std::string& name) const;
  const TensorInfo& info(const std::string& name) const { return shard(name).info(name); }
  torch::Tensor tensor(const std::string& name) const { return shard(name).tensor(name); }
  torch::Tensor view(const std::string& name) const { return shard(name).view(name); }

 private:
  void read_index(const std::filesystem::path& index);
  void add_shard(const std::string& file);

  std::filesystem::path folder_;
  std::string config_;
  std::vector<SafetensorsFile> shards_;
  std::map<std::string, size_t> shard_of_;
  std::vector<std::string> names_;
};

/// Writes config.json and the tensors into an existing folder: one file if they fit `shard_bytes`, else shards of at
/// most that many bytes of tensors (a larger tensor gets one for itself) and the index. Floating-point tensors are
/// rounded to `dtype`, those of one shard at a time.
void write_hf_folder(const std::filesystem::path& folder, const std::string& config,
                     const std::vector<std::pair<std::string, torch::Tensor>>& tensors, torch::ScalarType dtype,
                     uint64_t shard_bytes);

}  // namespace lt2
