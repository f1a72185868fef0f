#pragma once
// Runs reference vectors through the real code: every number that another implementation computed is judged against its
// limit.
#include <filesystem>
#include <string>
#include <vector>

#include "base/torch.h"

namespace lt2 {

struct CheckOptions {
  torch::ScalarType dtype =
      torch::kFloat32;  // kBFloat16: outputs of ops and layers, losses of models, with their own limits
  torch::Device device = torch::kCPU;
};

/// One compared quantity: the largest error over all its elements (and over all layers, when the name has layers.*).
struct CheckedTensor {
  std::string name;
  double error = 0;
  double limit = 0;
  bool absolute = false;                      // else relative to the reference's largest magnitude
  bool ok() const { return error <= limit; }  // a NaN error is not ok
};

struct CheckedFile {
  enum class Status { kPassed, kFailed, kSkipped };
  std::filesystem::path path;
  Status status = Status::kPassed;
  std::string note;  // why skipped, or what went wrong
  std::vector<CheckedTensor> tensors;
};

/// Judges one vector file, or a folder of tokenizer vectors. Kinds that this version does not run are skipped with a
/// note; a file that cannot be read fails.
CheckedFile check_file(const std::filesystem::path& path, const CheckOptions& options);

/// All vector files (.safetensors, .json) and folders of tokenizer vectors in files and folders, sorted. Throws
/// lt2::Error for a path that does not exist or holds none.
std::vector<std::filesystem::path> vector_files(const std::vector<std::filesystem::path>& paths);

}  // namespace lt2
