#pragma once
// Arguments of `launch`, and those of `launch --slurm`, which are the official launcher's (StoolArgs).
#include <cstdint>
#include <optional>
#include <string>

#include "config/fields.h"

namespace lt2 {

/// The arguments of both forms.
struct LaunchOptions {
  std::optional<int64_t> nproc;
  int64_t max_restarts = 0;
  bool slurm = false, dry_run = false;

  bool operator==(const LaunchOptions&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("nproc", nproc, within(1, 4096),
          "ranks on this machine, or with slurm tasks on each; required without slurm");
    visit("max_restarts", max_restarts, within(0, 4096), "after a failure, from the run's last checkpoint");
    visit("slurm", slurm, any(), "write a job file and submit it");
    visit("dry_run", dry_run, any(), "with slurm: write the job file only");
  }
};

struct LaunchConfig {
  std::string config, dump_dir, launcher = "sbatch", script = "apps.main.train";
  bool copy_code = true, dirs_exists_ok = false, override_ = false;
  int64_t nodes = -1, ngpu = 8, ncpu = 16;
  std::string mem, anaconda = "default", constraint, exclude, account, qos;
  int64_t time = -1;
  std::string partition = "learn";
  bool stdout_ = false;

  bool operator==(const LaunchConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("config", config, verbatim_path(), "training configuration; required");
    visit("dump_dir", dump_dir, verbatim_path(), "ours: folder of the run, in place of the configuration's");
    visit("launcher", launcher, verbatim(), "program that gets the job file, its name only; bash inside an allocation");
    visit("script", script, ignored("lt2 train runs"), "official program");
    visit("copy_code", copy_code, ignored("a program has no sources to copy"), "copy the sources");
    visit("dirs_exists_ok", dirs_exists_ok, any(), "continue in a dump_dir that exists");
    visit("override", override_, ignored("remove the folder yourself"), "delete dump_dir first");
    visit("nodes", nodes, within(1, 100000), "machines; required");
    visit("ngpu", ngpu, at_least(0), "GPUs and ranks per machine; 0: none, one rank unless --nproc");
    visit("ncpu", ncpu, at_least(1), "cores per GPU, or per rank without GPUs");
    visit("mem", mem, verbatim(), "memory per machine; empty: all");
    visit("anaconda", anaconda, ignored(), "Python environment");
    visit("constraint", constraint, verbatim(), "machines with these features");
    visit("exclude", exclude, verbatim(), "machines to leave out");
    visit("account", account, verbatim(), "account to charge");
    visit("qos", qos, verbatim(), "quality of service");
    visit("time", time, at_least(-1), "minutes; -1: the partition's limit");
    visit("partition", partition, verbatim(), "queue");
    visit("stdout", stdout_, any(), "one output for all tasks; false: also one file a task");
  }
};

}  // namespace lt2
