#pragma once
// Which process of how many this is, as the launcher's environment says.
#include <cstdint>
#include <string>

namespace lt2 {

struct ProcessLayout {
  int rank = 0, world = 1, local_rank = 0;
  std::string master_addr = "127.0.0.1";  // where the ranks meet: a host, or the path of a Unix socket (no port then)
  int master_port = 0;
  bool one_machine = true;  // all ranks are on this one: nothing listens on its other addresses
  std::string job;          // SLURM's job number; empty elsewhere
};

/// LOCAL_RANK set (torchrun, `lt2 launch`): RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT; one machine if
/// LOCAL_WORLD_SIZE is WORLD_SIZE or MASTER_ADDR is a path or loopback. Else SLURM_JOB_ID: SLURM_PROCID, SLURM_LOCALID,
/// SLURM_NTASKS, the first host of SLURM_JOB_NODELIST and a port in 20000..60000 made of the job's number; one machine
/// if SLURM_JOB_NUM_NODES is 1. Else one process. On one machine a host is 127.0.0.1. Throws lt2::Error naming the
/// variable that is missing or no number in range.
ProcessLayout process_layout();

/// The first host of a SLURM node list: "node[007-012,020],other" -> "node007".
std::string first_host(const std::string& node_list);

}  // namespace lt2
