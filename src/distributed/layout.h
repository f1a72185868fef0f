#pragma once
// Which process of how many this is, as the launcher's environment says.
#include <cstdint>
#include <string>

namespace lt2 {

struct ProcessLayout {
  int rank = 0, world = 1, local_rank = 0;
  std::string master_addr = "127.0.0.1";
  int master_port = 0;
  std::string job;  // SLURM's job number; empty elsewhere
};

/// LOCAL_RANK set (torchrun, `lt2 launch`): RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT. Else SLURM_JOB_ID:
/// SLURM_PROCID, SLURM_LOCALID, SLURM_NTASKS, the first host of SLURM_JOB_NODELIST and a port in 20000..60000 made of
/// the job's number. Else one process. Throws lt2::Error naming the variable that is missing or no number in range.
ProcessLayout process_layout();

/// The first host of a SLURM node list: "node[007-012,020],other" -> "node007".
std::string first_host(const std::string& node_list);

}  // namespace lt2
