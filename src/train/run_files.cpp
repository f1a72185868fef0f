#include "train/run_files.h"

#include "base/error.h"
#include "base/log.h"

namespace lt2 {

namespace fs = std::filesystem;

RunFiles::RunFiles(const TrainConfig& config, int rank)
    : dump_dir_(config.dump_dir), checkpoints_(*config.checkpoint.path), writes_(rank == 0) {
  make_folders(dump_dir_, "dump_dir");
  make_folders(checkpoints_, "checkpoint.path");
  set_log_rank(rank);
  if (!writes_) return;
  const auto purpose = fmt::format("a run with dump_dir {}", fs::absolute(dump_dir_).string());
  locks_.emplace_back(
      dump_dir_ / ".lock",
      fmt::format("{}: another process trains in it; wait for its end or set another dump_dir", dump_dir_.string()),
      purpose);
  if (!fs::equivalent(checkpoints_, dump_dir_)) {
    locks_.emplace_back(
        checkpoints_ / ".lock",
        fmt::format("{}: another run writes its checkpoints there; wait for its end or set another checkpoint.path",
                    checkpoints_.string()),
        purpose);
  }
  remove_leftovers(checkpoints_);
  set_log_file((dump_dir_ / "train.log").string());
}

}  // namespace lt2
