#pragma once
// A training run as a SLURM job.
#include <string>

#include "config/launch_config.h"

namespace lt2 {

struct SlurmOptions {
  std::string program;     // lt2
  int tasks_per_node = 0;  // 0: one a GPU, or one
  int max_restarts = 0;    // times the job requeues itself after a failure
  bool submit = true;
};

/// The job file: SIGUSR2 two minutes before the end (lt2 train then saves and requeues the job), output under
/// DUMP_DIR/logs. Throws lt2::Error naming a key that is missing.
std::string slurm_script(const LaunchConfig& config, const std::string& dump_dir, const SlurmOptions& options);

/// Writes dump_dir/base_config.yaml (the configuration as given, with this dump_dir) and dump_dir/submit.slurm, prints
/// their paths, and hands the job file to config.launcher. Returns its exit status. Throws lt2::Error if the
/// configuration cannot be loaded or the folder has a run already.
int submit_slurm(const LaunchConfig& config, const SlurmOptions& options);

}  // namespace lt2
