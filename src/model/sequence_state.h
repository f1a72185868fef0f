#pragma once
// Everything a batch of sequences has behind it: one mixer state per (draw, loop, layer).
#include <filesystem>
#include <memory>
#include <vector>

#include "config/patterns.h"
#include "mixers/mixer.h"

namespace lt2 {

/// Made by LoopedTransformer::make_state, advanced by LoopedTransformer::step. Fixed patterns have one draw; random
/// ones `inference_ensemble_k`, whose patterns stay fixed for the state's life.
class SequenceState {
 public:
  struct Draw {
    AttentionPlan plan;
    std::vector<std::unique_ptr<MixerState>> slots;  // loop * n_layers + layer
  };

  int64_t batch = 1;
  int64_t position = 0;  // tokens seen
  std::vector<Draw> draws;

  /// Bytes of all slots.
  int64_t bytes() const;
  /// Writes every tensor and the position; loading changes no bit. `save` is atomic.
  void save(const std::filesystem::path& path) const;
  /// Fills this state, made by the same model for the same batch, from a file. Throws lt2::Error when it does not fit.
  void load(const std::filesystem::path& path);
};

}  // namespace lt2
