// lt2 launch --nproc N -- COMMAND ...: several ranks on this machine; --slurm: a job file for a cluster.
#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "config/launch_config.h"
#include "distributed/local_launch.h"
#include "distributed/slurm.h"

namespace lt2 {
namespace {

int run(const Arguments& arguments) {
  LaunchOptions launch;
  LaunchConfig config;
  const auto options = read_options(arguments.words, "launch", Others::kRefused, launch, config);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const int restarts = static_cast<int>(launch.max_restarts);
  if (launch.slurm) {
    LT2_CHECK(arguments.rest.empty(), "lt2 launch --slurm: takes config=FILE and keys, no command; found {}",
              fmt::join(arguments.rest, " "));
    return submit_slurm(config, {.program = program,
                                 .tasks_per_node = static_cast<int>(launch.nproc.value_or(0)),
                                 .max_restarts = restarts,
                                 .submit = !launch.dry_run});
  }
  LT2_CHECK(launch.nproc, "lt2 launch: --nproc N is required, the number of ranks on this machine; or --slurm");
  LT2_CHECK(!launch.dry_run, "lt2 launch: --dry-run goes with --slurm; for a run's plan: lt2 train ... --dry-run");
  for (const auto& field : default_fields<LaunchConfig>())
    refuse_without_effect(options, "launch", {field.key},
                          "without --slurm; the command's own keys stand after its name");
  LT2_CHECK(!arguments.rest.empty(),
            "lt2 launch: no command to run; for example: lt2 launch --nproc 2 -- train config=FILE");
  std::vector<std::string> command{program};
  command.insert(command.end(), arguments.rest.begin(), arguments.rest.end());
  return launch_local({.command = command, .processes = static_cast<int>(*launch.nproc), .max_restarts = restarts});
}

}  // namespace

Command launch_command() {
  return {
      .name = "launch",
      .summary = "run several ranks here, or submit a SLURM job",
      .about =
          "The first form runs N ranks of an lt2 command on this machine, each on its share of the cores; if one "
          "fails the others are stopped and, with --max-restarts, all start again from the last checkpoint. "
          "The second writes DUMP_DIR/base_config.yaml and DUMP_DIR/submit.slurm and submits it. The job saves "
          "and requeues itself two minutes before its time ends, and after a failure up to --max-restarts times.",
      .usage = {"launch --nproc N [--max-restarts R] -- train config=FILE [key.sub=value ...]",
                "launch --slurm config=FILE nodes=N [key=value ...] [--nproc TASKS_PER_NODE] [--dry-run]"},
      .examples = {"launch --nproc 2 -- train config=configs/tiny/hybrid.yaml dump_dir=runs/two",
                   "launch --slurm config=configs/600M/looped_hybrid_gdn_4to1_600M.yaml nodes=3 ngpu=8 partition=gpu"},
      .keys = {keys_with<LaunchOptions>("options"), keys_with<LaunchConfig>("keys with --slurm")},
      .run = run,
      .runs_a_command = true};
}

}  // namespace lt2
