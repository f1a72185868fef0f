#include "train/trainer.h"

#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/signals.h"
#include "data/sources.h"
#include "ops/dtype.h"
#include "train/diverged.h"
#include "train/plan.h"

namespace lt2 {
namespace {

// Reads the tokenizer, and sets the vocabulary's size in the configuration.
std::shared_ptr<const Tokenizer> open_tokenizer(TrainConfig& config) {
  const auto& of = config.data.tokenizer;
  std::shared_ptr<const Tokenizer> tokenizer = make_tokenizer(of.name, of.path, of.specials);
  config.model.vocab_size = vocabulary_size(config, *tokenizer);
  return tokenizer;
}

std::unique_ptr<Loader> open_sources(const TrainConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                                     const Group& group, const RunFiles& files) {
  auto loader =
      std::make_unique<Loader>(config.data, group.rank(), group.world(), held_back(config), std::move(tokenizer));
  if (files.writes()) {
    for (const auto& line : source_lines(config.data.root_dir, config.data.sources)) log_info("{}", line);
  }
  return loader;
}

std::shared_ptr<LoopedTransformer> build_model(const TrainConfig& config) {
  auto model = std::make_shared<LoopedTransformer>(config.model);
  model->compute_type = parse_dtype(config.distributed.model_dtype, "distributed.model_dtype");
  model->recompute =
      parse_recompute(config.distributed.activation_checkpointing, "distributed.activation_checkpointing");
  return model;
}

StepTracer make_tracer(const TrainConfig& config, const RunFiles& files, int rank) {
  if (!config.profiling.run) return {};
  return {files.dump_dir() / config.profiling.trace_folder, rank, config.profiling.profile_warmup,
          config.profiling.profile_steps};
}

}  // namespace

Trainer::Trainer(TrainConfig config, std::shared_ptr<Group> group, std::shared_ptr<Objective> objective)
    : config_(std::move(config)),
      group_(std::move(group)),
      objective_(std::move(objective)),
      tokenizer_(open_tokenizer(config_)),
      files_(config_, group_->rank()),
      stop_(group_),
      loader_(open_sources(config_, tokenizer_, *group_, files_)),
      validator_(config_, *tokenizer_, stop_),
      model_(build_model(config_)),
      log_(config_, *model_, files_, stop_),
      checkpoints_(config_, files_),
      samples_(config_, *tokenizer_, files_, stop_),
      tracer_(make_tracer(config_, files_, group_->rank())) {
  // A permission for this start, not a property of the run.
  const bool allow_model_change = std::exchange(config_.checkpoint.allow_model_change, false);
  // Weights first: the replica takes over their memory.
  checkpoints_.fill(*model_, allow_model_change);
  replica_ = std::make_unique<Replica>(*model_, config_.optim, group_, parse_sharding(config_.distributed.fsdp_type),
                                       objective_);
  auto state = checkpoints_.resume(*replica_, *loader_);
  loop_ = std::make_unique<StepLoop>(config_, std::move(state), *replica_, *loader_, stop_, tracer_);
  open_run();
}

// From here on the files of the run change.
void Trainer::open_run() {
  checkpoints_.read_companions();
  log_.open(loop_->step());
  if (!files_.writes()) return;
  if (checkpoints_.resumes() && loop_->finished()) return;  // the run has ended already, and this start changes nothing
  write_file_atomically(files_.dump_dir() / "config.yaml", to_yaml(config_));
}

Trainer::End Trainer::run() {
  try {
    return train();
  } catch (const Diverged& diverged) {
    fail("step {}: {}. {}; lower optim.lr or look at the data", loop_->step(), diverged.what, checkpoints_.last_good());
  }
}

Trainer::End Trainer::train() {
  catch_stop_signals();
  log_.introduce(loop_->tokens_per_step(), group_->world());
  if (loop_->finished()) {
    log_info("nothing to do: step {} of {} is already reached; raise steps to continue", loop_->step(), config_.steps);
    return End::kFinished;
  }
  if (loop_->step() == 0) samples_.write(*replica_, "before training", loop_->step());
  log_.begin(loop_->step());
  const int64_t first_step = loop_->step();
  while (!loop_->finished() && !stop_.stopped(/*together=*/true) && loop_->step() - first_step != stop_after_) {
    if (!take_step()) break;
  }
  log_.end();
  save();
  tracer_.finish();
  if (!loop_->finished()) {
    log_info("stopped after step {}; saved {}. Run the same command again to continue", loop_->step(),
             checkpoints_.folder(loop_->step()));
  }
  stop_.rethrow_failure();
  if (!loop_->finished()) return End::kInterrupted;
  samples_.write(*replica_, "after training", loop_->step());
  log_.conclude(*loop_, checkpoints_.folder(loop_->step()));
  return End::kFinished;
}

// Takes a step and does what is due after it. False: it was given up.
bool Trainer::take_step() {
  if (!loop_->take()) return false;
  log_.add_step(*loop_);
  if (validator_.due(loop_->step())) {
    tracer_.phase("validation");
    if (const auto validation = validator_.measure(*replica_))
      log_.add_validation(loop_->step(), validator_.source_name(), *validation);
  }
  log_.show_progress(*loop_);
  if (checkpoints_.due(loop_->step())) {
    tracer_.phase("save");
    save();
  }
  tracer_.phase("");
  return true;
}

void Trainer::save() { checkpoints_.save(*replica_, loop_->state(), loop_->position(), loop_->last().result.lr); }

}  // namespace lt2
