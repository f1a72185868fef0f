#include "train/run_checkpoints.h"

#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/checksums.h"
#include "folders/run_folder.h"
#include "train/diverged.h"
#include "train/resume.h"

namespace lt2 {

namespace fs = std::filesystem;

RunCheckpoints::RunCheckpoints(const TrainConfig& config, const RunFiles& files)
    : config_(config), files_(files), newest_(newest_sound()) {}

std::optional<fs::path> RunCheckpoints::newest_sound() const {
  auto folders = step_folders(files_.checkpoints());
  const bool any = !folders.empty();
  for (; !folders.empty(); folders.pop_back()) {
    try {
      verify_checksums(folders.back());
      return folders.back();
    } catch (const Error& error) {
      if (files_.writes()) log_warning("{}; skipped", error.what());
    }
  }
  LT2_CHECK(
      !any,
      "{}: no usable checkpoint, see the warnings above. Restore one, set another dump_dir, or remove this folder "
      "to start over",
      files_.checkpoints().string());
  return std::nullopt;
}

void RunCheckpoints::fill(LoopedTransformer& model, bool allow_model_change) {
  if (newest_) {
    from_ = open_model(*newest_, {.training_state = true, .verify = false, .quiet = !files_.writes()});
  } else if (config_.checkpoint.init_ckpt_path) {
    from_ = open_model(*config_.checkpoint.init_ckpt_path, {.quiet = !files_.writes()});
  } else {
    return model.initialise();
  }
  take_parameters(model, *from_);
  const auto changes = check_same_model(*from_, config_, allow_model_change);
  if (!changes.empty() && files_.writes()) log_warning("{}", changes);
  if (!newest_) log_info("weights from {}", from_->where.string());
}

TrainState RunCheckpoints::resume(Replica& replica, Loader& loader) {
  if (!newest_) {
    from_.reset();
    return {};
  }
  const auto state_file = (*newest_ / kTrainStateFile).string();
  for (const char* file : {kTrainStateFile, kOptimizerFile})
    LT2_CHECK(fs::exists(*newest_ / file),
              "{} does not exist; a run continues from it. Start one from the weights with "
              "checkpoint.init_ckpt_path",
              (*newest_ / file).string());
  replica.restore_optimizer(from_->training.optimizer);
  const auto state = parse_train_state(*from_->training.loaders, state_file);
  LT2_CHECK(
      checkpoint_folder(files_.checkpoints(), state.step).filename() == newest_->filename(),
      "{}: step: expected that of its folder, found {}. Restore the folder, or remove it to continue from the one "
      "before",
      state_file, state.step);
  const Group& group = replica.group();
  const auto ranks = static_cast<int64_t>(state.loaders.size());
  if (ranks == group.world()) {
    loader.restore(state.loaders[static_cast<size_t>(group.rank())], state.step, state_file + ": data_loader_state");
  } else {
    loader.restart(state.step, fmt::format("it is of {} ranks, there are {} now", ranks, group.world()));
  }
  saved_step_ = state.step;
  log_info("resuming from {} (step {})", newest_->string(), state.step);
  tell_changes(state.step);
  from_.reset();
  return state;
}

void RunCheckpoints::tell_changes(int64_t step) const {
  if (!files_.writes() || !from_->run) return;  // open_model said so
  const auto before = from_->run_config();
  if (const auto line = changes_line(before, config_, step); !line.empty()) log_info("{}", line);
  if (const auto line = rate_change_line(before, config_, step); !line.empty()) log_warning("{}", line);
}

void RunCheckpoints::read_companions() {
  if (files_.writes()) companions_ = companions_of_run(config_.data.tokenizer);
}

bool RunCheckpoints::due(int64_t step) const {
  return step % config_.checkpoint.dump.every == 0 || step % config_.checkpoint.eval.every == 0;
}

void RunCheckpoints::save(Replica& replica, TrainState state, const std::string& position, double lr) {
  if (saved_step_ == state.step) return;
  if (!std::isfinite(replica.parameter_norm()))
    throw Diverged{fmt::format("the weights are not finite after an update with learning rate {:.2e}", lr)};
  state.loaders = replica.group().gather(position);
  const auto parameters = replica.parameters(), moments = replica.optimizer_state();
  saved_step_ = state.step;
  if (!files_.writes()) return;
  save_checkpoint(folder(state.step), parameters, moments, to_json(companions_.beside(config_)), state, companions_);
  prune_checkpoints(files_.checkpoints(), state.step, config_.checkpoint);
}

std::string RunCheckpoints::last_good() const {
  return saved_step_ >= 0 ? fmt::format("The last good checkpoint is {}", folder(saved_step_))
                          : "No checkpoint was written yet";
}

}  // namespace lt2
