#pragma once
// Where a run's weights come from and where they are saved: the checkpoints of its folder.
#include <filesystem>
#include <optional>
#include <string>

#include "config/train_config.h"
#include "data/loader.h"
#include "folders/companions.h"
#include "folders/model_folder.h"
#include "train/checkpoint.h"
#include "train/replica.h"
#include "train/run_files.h"

namespace lt2 {

class RunCheckpoints {
 public:
  /// Both must outlive it. Throws lt2::Error if there are checkpoints but no sound one.
  RunCheckpoints(const TrainConfig& config, const RunFiles& files);

  /// Call before the replica takes over the weights' memory. Fills in the weights of the newest sound checkpoint, else
  /// of checkpoint.init_ckpt_path, else new random ones. Throws lt2::Error if they were trained as another model
  /// (train/resume.h), unless `allow_model_change`.
  void fill(LoopedTransformer& model, bool allow_model_change);
  /// Call once, after fill(): restores moments, counts and the loader's position of the newest checkpoint; changes
  /// nothing if there is none. Logs what the configuration changes.
  TrainState resume(Replica& replica, Loader& loader);
  /// Whether there was a sound checkpoint.
  bool resumes() const { return newest_.has_value(); }
  /// The vocabulary that checkpoints carry. Throws lt2::Error if its files cannot be read.
  void read_companions();

  bool due(int64_t step) const;
  /// Saves the weights of `state.step` unless they are saved already, and prunes. `position` is that of this rank's
  /// loader, `lr` that of the last step. All ranks must call. Throws Diverged if a weight is not finite, lt2::Error if
  /// writing fails.
  void save(Replica& replica, TrainState state, const std::string& position, double lr);
  /// checkpoints/0000001200
  std::string folder(int64_t step) const { return checkpoint_folder(files_.checkpoints(), step).string(); }
  /// "The last good checkpoint is ..." or that there is none.
  std::string last_good() const;

 private:
  std::optional<std::filesystem::path> newest_sound() const;
  void tell_changes(int64_t step) const;

  const TrainConfig& config_;
  const RunFiles& files_;
  Companions companions_;  // rank 0
  std::optional<std::filesystem::path> newest_;
  std::optional<ModelFolder> from_;  // from fill() to resume()
  int64_t saved_step_ = -1;
};

}  // namespace lt2
