// lt2 launch --nproc N -- COMMAND ...: several ranks on this machine; --slurm: a job file for a cluster.
#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "cli/command.h"
#include "config/launch_config.h"
#include "config/overrides.h"
#include "distributed/local_launch.h"
#include "distributed/slurm.h"

namespace lt2 {
namespace {

std::string help() {
  return "usage: lt2 launch --nproc N [--max-restarts R] -- train config=FILE [key.sub=value ...]\n"
         "       lt2 launch --slurm config=FILE nodes=N [key=value ...] [--nproc TASKS_PER_NODE] [--dry-run]\n\n"
         "The first form runs N ranks of an lt2 command on this machine, each on its share of the cores; if one fails "
         "the others are stopped and, with\n"
         "--max-restarts, all start again from the last checkpoint. The second writes DUMP_DIR/base_config.yaml and "
         "DUMP_DIR/submit.slurm and submits it\n"
         "(--dry-run: writes it only). The job saves and requeues itself two minutes before its time ends, and after a "
         "failure up to --max-restarts times.\n\n"
         "example: lt2 launch --nproc 2 -- train config=configs/tiny/hybrid.yaml dump_dir=runs/two\n"
         "example: lt2 launch --slurm config=configs/600M/looped_hybrid_gdn_4to1_600M.yaml nodes=3 ngpu=8 "
         "partition=gpu\n\n"
         "keys with --slurm:\n" +
         describe_fields<LaunchConfig>();
}

int number(const std::string& text, const char* name, int least) {
  int out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  LT2_CHECK(error == std::errc() && end == text.data() + text.size() && out >= least && out <= 4096,
            "lt2 launch: {} must be a whole number from {} to 4096; found \"{}\"", name, least, text);
  return out;
}

int run(const Arguments& arguments) {
  const int restarts = arguments.max_restarts.empty() ? 0 : number(arguments.max_restarts, "--max-restarts", 0);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  if (arguments.slurm) {
    LT2_CHECK(arguments.rest.empty(), "lt2 launch --slurm: takes config=FILE and keys, no command behind --; found {}",
              fmt::join(arguments.rest, " "));
    LaunchConfig config;
    apply_overrides(config, arguments.words, "lt2 launch");
    return submit_slurm(config, {.program = program,
                                 .tasks_per_node = arguments.nproc.empty() ? 0 : number(arguments.nproc, "--nproc", 1),
                                 .max_restarts = restarts,
                                 .submit = !arguments.dry_run});
  }
  LT2_CHECK(!arguments.nproc.empty(),
            "lt2 launch: --nproc N is required, the number of ranks on this machine; or --slurm");
  LT2_CHECK(!arguments.dry_run, "lt2 launch: --dry-run goes with --slurm; for a run's plan: lt2 train ... --dry-run");
  std::vector<std::string> command{program};
  // `-- train ...` and `train ...` alike.
  command.insert(command.end(), arguments.words.begin(), arguments.words.end());
  command.insert(command.end(), arguments.rest.begin(), arguments.rest.end());
  LT2_CHECK(command.size() > 1,
            "lt2 launch: no command to run; for example: lt2 launch --nproc 2 -- train config=FILE");
  return launch_local(
      {.command = command, .processes = number(arguments.nproc, "--nproc", 1), .max_restarts = restarts});
}

}  // namespace

Command launch_command() {
  return {"launch",
          "run several ranks here, or submit a SLURM job",
          help,
          run,
          {"--nproc", "--max-restarts", "--slurm", "--dry-run"}};
}

}  // namespace lt2
