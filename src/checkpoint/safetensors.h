#pragma once
// The safetensors file format: an 8-byte length, a JSON header, then the tensors' bytes without gaps.
//
//   {"__metadata__": {"format": "pt"}, "wq": {"dtype": "F32", "shape": [8, 4], "data_offsets": [0, 128]}, ...}
//
// A file may come from anywhere, so everything is checked before any of it is used.
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/torch.h"

namespace lt2 {

struct TensorInfo {
  std::string dtype;            // F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL
  std::vector<int64_t> shape;   // empty: a scalar
  uint64_t begin = 0, end = 0;  // bytes, counted from the end of the header
};

/// A file opened for reading, mapped into memory: tensors are read only when asked for.
class SafetensorsFile {
 public:
  /// Throws lt2::Error, one line with file, tensor, expected and found, unless the file is valid in every respect.
  explicit SafetensorsFile(const std::filesystem::path& path);

  /// In the order of the data.
  const std::vector<std::string>& names() const { return names_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return path_; }
  bool contains(const std::string& name) const { return tensors_.count(name) > 0; }
  /// Throws lt2::Error if there is no such tensor.
  const TensorInfo& info(const std::string& name) const;

  /// A copy. Throws lt2::Error if there is no such tensor or a BOOL tensor holds bytes other than 0 and 1.
  torch::Tensor tensor(const std::string& name) const;
  /// The mapped bytes themselves, which stay mapped as long as the tensor lives. Never write to it: that is a
  /// segmentation fault. A tensor that does not lie on a multiple of its element size is copied.
  torch::Tensor view(const std::string& name) const;

 private:
  class HeaderReader;
  void read_header();
  void check_layout();
  const uint8_t* bytes(const std::string& name) const;

  std::filesystem::path path_;
  std::shared_ptr<MappedFile> file_;
  size_t data_begin_ = 0;
  std::vector<std::string> names_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// Writes the tensors, one at a time through the CPU's memory, in the given order; replaces `path` only when complete.
/// Throws lt2::Error on a repeated or unusable name, a dtype the format lacks, and when the file cannot be written.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, torch::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace lt2
