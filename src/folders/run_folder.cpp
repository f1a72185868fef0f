#include "folders/run_folder.h"

#include <algorithm>

#include "base/log.h"
#include "checkpoint/checksums.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

bool is_step_name(const std::string& name) {
  return name.size() == 10 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

std::vector<fs::path> step_folders(const fs::path& checkpoints) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(checkpoints, ignored)) {
    if (entry.is_directory() && is_step_name(entry.path().filename().string())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> complete_checkpoints(const fs::path& checkpoints) {
  auto found = step_folders(checkpoints);
  std::erase_if(found, [](const fs::path& folder) { return !is_complete(folder); });
  return found;
}

std::optional<fs::path> newest_complete_checkpoint(const fs::path& checkpoints) {
  for (auto folders = step_folders(checkpoints); !folders.empty(); folders.pop_back()) {
    const auto problem = incompleteness(folders.back());
    if (problem.empty()) return folders.back();
    log_warning("{}; passed over", problem);
  }
  return std::nullopt;
}

}  // namespace lt2
