#pragma once
// Several ranks of one program on this machine.
#include <string>
#include <vector>

namespace lt2 {

struct LocalLaunch {
  std::vector<std::string> command;  // program and arguments
  int processes = 1;
  int max_restarts = 0;  // after a failure, from the run's last checkpoint
};

/// Starts the ranks with torchrun's environment, each on its own share of the allowed cores. Rank 0 has this terminal;
/// lines of the others get "rank N: " in front. Passes SIGINT, SIGTERM and SIGUSR2 on. When one rank fails the others
/// get 10 s to end by themselves, then they are killed. Returns 0 if all ended with 0, else 1, after a line that names
/// the rank and how it ended. Throws lt2::Error if a process cannot be started.
int launch_local(const LocalLaunch& launch);

}  // namespace lt2
