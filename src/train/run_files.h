#pragma once
// The folders of a run and their locks.
#include <filesystem>
#include <list>

#include "base/files.h"
#include "config/train_config.h"

namespace lt2 {

class RunFiles {
 public:
  /// Makes dump_dir and checkpoint.path. Rank 0 locks both, removes the unfinished files of a killed run, and sends the
  /// log to train.log. Throws lt2::Error if another process trains in one of them.
  RunFiles(const TrainConfig& config, int rank);

  /// Whether this rank writes files and to the terminal: only rank 0 does.
  bool writes() const { return writes_; }
  const std::filesystem::path& dump_dir() const { return dump_dir_; }
  const std::filesystem::path& checkpoints() const { return checkpoints_; }

 private:
  std::filesystem::path dump_dir_, checkpoints_;
  bool writes_;
  std::list<FileLock> locks_;  // of both folders
};

}  // namespace lt2
