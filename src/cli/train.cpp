// lt2 train config=FILE key.sub=value ...
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"
#include "base/output.h"
#include "base/process.h"
#include "base/signals.h"
#include "base/thread_count.h"
#include "cli/command.h"
#include "cli/options.h"
#include "config/train_config.h"
#include "config/train_options.h"
#include "distributed/group.h"
#include "distributed/layout.h"
#include "distributed/waiting.h"
#include "measure/speed.h"
#include "ops/dtype.h"
#include "ops/runtime.h"
#include "train/plan.h"
#include "train/trainer.h"

namespace lt2 {
namespace {

// SLURM warns before the job's time ends: the run continues when the job is requeued.
void requeue_if_due(const ProcessLayout& layout) {
  if (stop_signal() != SIGUSR2 || layout.rank != 0 || layout.job.empty()) return;
  const int status = run_program({"scontrol", "requeue", layout.job});
  if (status == 0) log_info("job {} continues later", layout.job);
  if (status != 0) log_warning("scontrol could not requeue job {}; submit it again to continue", layout.job);
}

// Waits for the other ranks. A signal before all have come ends the process with 0, as it ends a run: nothing is lost.
std::shared_ptr<Group> meet(const ProcessLayout& layout, double timeout_s) {
  try {
    return Group::start(layout, torch::kCPU, timeout_s);
  } catch (const MeetingStopped& stop) {
    log_warning("{}. Run the same command again to continue", stop.what());
    requeue_if_due(layout);
    std::fflush(nullptr);
    std::_Exit(0);  // a thread may still wait for a rank that does not come
  }
}

int run(const Arguments& arguments) {
  const ProcessLayout layout = process_layout();
  set_log_rank(layout.rank);  // before the first note: one rank says it
  TrainOptions options;
  const auto overrides = read_options(arguments.words, "train", Others::kTrainingKeys, options).training_keys;
  LT2_CHECK(!options.config.empty(), "lt2 train: config=FILE is required, for example config=configs/tiny/hybrid.yaml");
  Notes notes;
  auto config = load_train_config(options.config, overrides, &notes);
  validate(config, &notes, {.world_size = layout.world, .dry_run = options.dry_run});
  // Up to here nothing can be lost, and a signal simply ends the program. A signal while the run is being built must
  // save and say how to resume.
  if (!options.dry_run) catch_stop_signals();
  if (!notes.ignored.empty()) log_info("{}", ignored_line(notes));
  for (const auto& line : notes.unused) log_info("{}", line);
  for (const auto& line : notes.warnings) {
    if (layout.rank == 0) log_warning("{}", line);
  }
  if (notes.where.on_command_line("env.OMP_NUM_THREADS")) {
    init_runtime(thread_count_from_text(config.env.OMP_NUM_THREADS, "command line: env.OMP_NUM_THREADS"));
  }
  if (options.dry_run) {
    if (layout.rank == 0) print_out("{}", training_plan(config, layout.world));
    return 0;
  }
  Trainer trainer(config, meet(layout, config.distributed.timeout_s));
  // Ranks that share the machine share its peak; a rank that measured alone would see less or more.
  if (layout.world == 1) {
    const auto dtype = parse_dtype(config.distributed.model_dtype, "distributed.model_dtype");
    trainer.set_peak_flops(measure_product_gflops(dtype) * 1e9);
  }
  trainer.run();
  requeue_if_due(layout);
  return 0;
}

}  // namespace

Command train_command() {
  return {.name = "train",
          .summary = "pretrain a looped model from a configuration",
          .about =
              "Trains the looped model that a YAML or JSON file describes, on one process or as a rank of several. It "
              "resumes by itself from the newest checkpoint in dump_dir. Later values win: defaults, then the "
              "file, then the command line.",
          .usage = {"train config=FILE [key.sub=value ...] [--dry-run]"},
          .examples = {"train config=configs/tiny/hybrid.yaml steps=100 dump_dir=runs/try"},
          .keys = {keys_with<TrainOptions>("options"), keys_with<TrainConfig>("keys of the configuration")},
          .run = run,
          .takes_training_keys = true};
}

}  // namespace lt2
