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

/// Starts the ranks with torchrun's environment, each on its own share of the allowed cores; they meet at a Unix socket
/// in a folder of mode 0700. Rank 0 has this terminal; lines of the others get "rank N: " in front. Passes SIGINT (as
/// SIGTERM), SIGTERM and SIGUSR2 on; nothing is started after one of them, and a second SIGINT kills. When one rank
/// fails the others get SIGTERM and 10 s to end by themselves, then they are killed. Returns 0 if all ended with 0; 1
/// after a failure and a line that names the rank and how it ended; 128 + the signal's number if a stop came before a
/// rank could answer it. Throws lt2::Error if a process cannot be started.
int launch_local(const LocalLaunch& launch);

}  // namespace lt2
