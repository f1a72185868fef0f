#pragma once
// Looking inside a pass: a listener at a named point gets the tensor at that point.
//
//     Taps taps;
//     taps.on("loop.*.out", [&](const TapPoint& at, const torch::Tensor& h) { norms[at.loop] = h.norm(); });
//     const Listening listening(*model, taps);
//
// A pass computes the same bits with listeners as without, and nothing more where there is no listener. In training the
// tensors belong to the graph, also where the pass is recomputed: a loss may use them.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/torch.h"

namespace lt2 {

/// The tensor at a point. B, L: the batch of a pass without states or with one; [1, R]: the rows of several sequences.
enum class TapKind {
  kEmbedding,  // "embedding"                   [B, L, D] fp32: the residual stream before the first loop
  kMixerIn,    // "loop.T.layer.I.mixer_in"     [B, L, D] the normed input, in the type of the products
  kMixerOut,   // "loop.T.layer.I.mixer_out"    [B, L, D] the mixer's output, before it is added (`ouro`: before it is
               // normed and added)
  kLayerOut,   // "loop.T.layer.I.out"          [B, L, D] fp32: the residual stream after the layer
  kState,      // "loop.T.layer.I.state.NAME"   a tensor of the layer's MixerState after the pass; only with a state
  kLoopOut,    // "loop.T.out"                  [B, L, D] fp32: the residual stream after the loop, its residual added
  kLogits,     // "logits.T"                    [B, L, vocab] fp32: the output's logits after that loop, for all tokens
};

struct TapPoint {
  TapKind kind = TapKind::kEmbedding;
  int64_t loop = -1;        // from 0; -1: of no loop
  int64_t layer = -1;       // from 0; -1: of no layer
  std::string tensor = {};  // kState: as MixerState::tensors names it
  int64_t sequence = 0;     // kState: index in the pass
  int64_t draw = 0;         // of random patterns: the state's draw
  // Of a pass over several sequences (LoopedTransformer::advance): which of them have rows here, and how many, one
  // after the other along dim 1. With ExitRule::defer these are the tokens that run the loop now.
  std::vector<std::pair<int64_t, int64_t>> rows = {};

  /// "loop.2.layer.0.mixer_out".
  std::string name() const;
};

class Taps {
 public:
  /// Tensors of states are views, which the next pass changes; other tensors do not change.
  using Listener = std::function<void(const TapPoint& at, const torch::Tensor& tensor)>;

  /// Calls `listener` at each point that `pattern` names: a name as above, with * in place of any number of a loop or a
  /// layer; "state" without a name means all its tensors. Throws lt2::Error for any other name.
  void on(const std::string& pattern, Listener listener);

  /// Whether this point has a listener. For kState without a `tensor`: whether any of its tensors has one.
  bool wants(const TapPoint& at) const;
  /// Calls the listeners of this point, in the order in which they were added.
  void give(const TapPoint& at, const torch::Tensor& tensor) const;

 private:
  struct Entry {
    TapKind kind;
    std::optional<int64_t> loop, layer;  // unset: any
    std::string tensor;                  // empty: any
    Listener listener;
    bool at(const TapPoint& point) const;
  };
  std::vector<Entry> entries_;
};

}  // namespace lt2
