#pragma once
// The state of a batch of sequences: one mixer state per (draw, loop, layer), and the tokens that wait.
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/patterns.h"
#include "mixers/mixer.h"

namespace lt2 {

/// Made by LoopedTransformer::make_state, advanced by its step and advance. Fixed patterns have one draw; random
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
  // Tokens that left the loops early and wait for loop t (ExitRule::defer): their rows [1, waiting, D], in their order.
  // The states of loop t and of later loops do not hold them yet. Empty, or one tensor a loop: undefined or without
  // rows where no token waits.
  std::vector<torch::Tensor> pending;

  /// Bytes of all slots and of the rows that wait.
  int64_t bytes() const;
  /// A state that continues from the same point, without the mark; room for `reserve_tokens`. The two share no memory
  /// but the rows that wait, which are never written.
  SequenceState clone(int64_t reserve_tokens) const;
  /// Remembers this point; nothing may wait. See MixerState::mark.
  void mark();
  /// Takes back all tokens since mark() but the first `keep`, up to rounding (MixerState::rewind).
  void rewind(int64_t keep);
  /// Writes every tensor and the position; loading changes no bit. `save` is atomic. `beside`: more tensors for the
  /// same file, which load() ignores; `notes`: more metadata, also ignored.
  void save(const std::filesystem::path& path, const NamedTensors& beside = {},
            const std::map<std::string, std::string>& notes = {}) const;
  /// Fills this state, made by the same model for the same batch, from a file. Throws lt2::Error when it does not fit.
  void load(const std::filesystem::path& path);

 private:
  int64_t marked_ = 0;  // position
};

}  // namespace lt2
