#pragma once
// The looped model: N shared layers run T times over the sequence, with gated residuals around blocks and loops.
//
//     h = tok_embeddings[tokens]
//     for t in 0 .. T-1:
//         h_loop = h
//         for every block k of layers:  h_block = h;  layers of k;  h = h + block_residual_weight[k] h_block
//         h = h + residual_weight[t] h_loop
//     logits = output(norm(h))
//
// Every loop starts from empty mixer states: the loops share weights, not states.
//
// `ouro` models (model_type) have no gated residuals; every loop ends with h = norm(h), which the output reads as it
// is, and an exit gate reads the same h. Source: arXiv 2605.20670; Ouro: arXiv 2510.25741.
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "config/patterns.h"
#include "config/train_config.h"
#include "model/layer.h"
#include "model/recompute.h"
#include "model/sequence_state.h"
#include "model/taps.h"

namespace lt2 {

/// Is called before and after every call of a layer, so that its weights need to be in memory only then (full_shard).
class LayerWatch {
 public:
  virtual ~LayerWatch() = default;
  /// Before the layer runs: in the forward pass, and again when it is recomputed.
  virtual void enter(size_t layer) = 0;
  /// After it ran without gradients.
  virtual void leave(size_t layer) = 0;
  /// After the backward pass of one of its calls; its parameters' .grad hold that call's gradients.
  virtual void backward_done(size_t layer) = 0;
};

/// The loop whose logits a token gets; by default the last one.
struct ExitRule {
  std::optional<int64_t> step;  // this loop, counted from 0; wins over the threshold
  std::optional<double>
      threshold;  // the first loop t with C_t >= threshold, C the exit gate's distribution; `ouro` only
  /// The loops after a token's exit wait until a later token needs them. Then they run for all waiting tokens, in their
  /// order. States and results are, up to rounding, those without waiting, for less work. If false, every loop always
  /// runs.
  bool defer = false;

  bool exits_early() const { return step || threshold; }
};

/// Rows of logits that are computed at a time for a hook: memory use does not grow with the number of rows.
inline constexpr int64_t kLogitRows = 256;

/// Gets logits fp32 [n, vocab], n <= kLogitRows, and the loop of each row, in the order of the tokens.
using LogitsHook = std::function<void(const torch::Tensor& logits, const std::vector<int64_t>& exits)>;

/// The next tokens of one sequence.
struct Continuation {
  SequenceState* state;        // of batch 1
  torch::Tensor tokens;        // int64 [L], L >= 1
  bool all_positions = false;  // logits of all tokens, or of the last one
  bool waiting = false;        // first the logits of all tokens that waited for a loop, from the last loop
  int64_t from = 0;            // with all_positions: only of tokens from this one on, 0 <= from < L
  LogitsHook on_logits = {};   // if set, all rows go there, and Continued::logits is the last one
};

/// The result of a Continuation.
struct Continued {
  torch::Tensor logits;        // fp32 [rows, vocab]
  std::vector<int64_t> exits;  // the loop of each row, also of those that went to the hook
};

class Walks;  // model/walks.h

class LoopedTransformer : public torch::nn::Module {
 public:
  /// `config` must be validated. Parameters are allocated in fp32 and not initialised.
  explicit LoopedTransformer(const ModelConfig& config);

  /// Draws all parameters from config.seed, as the official code distributes them.
  void initialise();

  /// tokens int64 [B, L] -> residual stream [B, L, D] fp32 that `output` reads (after the last loop; with
  /// legacy_iteration_weights the weighted sum of all loops). `draw` selects the pattern of random layouts.
  torch::Tensor hidden(const torch::Tensor& tokens, int64_t draw = 0);
  /// What hidden() gave, or a tap at "loop.T.out", [.., D] -> logits fp32 [.., vocab]: output(norm(h)), in `ouro`
  /// output(h).
  torch::Tensor logits(const torch::Tensor& h);
  struct Losses {
    torch::Tensor cross_entropy;  // mean over the targets
    torch::Tensor mixers;         // sum of the mixers' own losses (DSA's indexers), all loops; undefined if none
    torch::Tensor total;          // cross_entropy + dsa_kl_coef * mixers: what training minimizes
  };
  /// Losses of `targets` [B, L], scalars in fp32. Never holds [B L, vocab]. Mixers add their own losses only in grad
  /// mode.
  Losses losses(const torch::Tensor& tokens, const torch::Tensor& targets, int64_t draw = 0);
  /// losses().total
  torch::Tensor loss(const torch::Tensor& tokens, const torch::Tensor& targets, int64_t draw = 0);

  /// State of `batch` sequences that have not begun; random patterns draw from `first_draw` on. `reserve_tokens`: cache
  /// room to allocate at once.
  SequenceState make_state(int64_t batch, int64_t reserve_tokens = 0, int64_t first_draw = 0) const;
  /// Continues `state` with tokens [B, L] (L >= 1) and returns fp32 logits: of the last token [B, 1, vocab], or of all
  /// [B, L, vocab], both of the last loop. Random layouts: the mean over the state's draws. A prefill in one piece, in
  /// parts or token by token uses this same call.
  torch::Tensor step(const torch::Tensor& tokens, SequenceState& state, bool all_positions = false);

  /// Continues several sequences in one pass over the weights, each from its own state. A sequence's results do not
  /// depend on the others, bit for bit. Throws lt2::Error for a rule that the model cannot follow.
  std::vector<Continued> advance(const std::vector<Continuation>& sequences, const ExitRule& rule = {});
  /// What config() says: early_exit_step, early_exit_threshold.
  ExitRule exit_rule() const { return {.step = config_.early_exit_step, .threshold = config_.early_exit_threshold}; }

  /// Every parameter under its official name, once (tied output is the embedding).
  NamedTensors official_parameters() const;

  const ModelConfig& config() const { return config_; }
  /// Type of the products: fp32 or bf16. Master weights and the residual stream stay fp32.
  torch::ScalarType compute_type = torch::kFloat32;
  /// What training recomputes in its backward pass instead of keeping it. The same gradients, bit for bit.
  Recompute recompute = Recompute::kNone;
  /// If set, called at every layer of every pass, forward (also of recomputed parts) and backward. An exception from it
  /// ends the pass; the gradients are then invalid.
  std::function<void()> at_each_layer;
  /// Null: no listeners (model/taps.h). Must outlive the passes.
  const Taps* taps = nullptr;
  /// Null: no watch. With one, training needs Recompute::kLayer.
  LayerWatch* watch = nullptr;

  torch::Tensor tok_embeddings;  // [V, D]       official name tok_embeddings.weight
  std::vector<Layer> layers;
  Norm norm{nullptr};                     // [D]
  Linear output{nullptr};                 // [V, D]       absent when tied
  Linear tied_output{nullptr};            // the tied output, once packed; not a separate parameter
  torch::Tensor residual_weight;          // [T, D]       with use_residual ([T] with legacy_iteration_weights)
  torch::Tensor block_residual_weight;    // [n_blocks]   with use_block_residual
  torch::Tensor iteration_weights;        // [T]          with legacy_iteration_weights
  BiasedLinear early_exit_gate{nullptr};  // [1, D], [1]  of `ouro` models

 private:
  // One sequence of a pass: the states that it continues, and its rows.
  struct Rows {
    SequenceState::Draw* draw;
    int64_t count;
  };
  struct Tapped {  // tapped inside a recomputed part; the listeners get it once the part is in the graph
    std::vector<TapPoint> points;
    std::vector<torch::Tensor> tensors;
  };
  struct Pass {  // what one run needs besides the tokens
    const AttentionPlan& plan;
    int64_t draw = 0;
    std::vector<Rows> sequences = {};  // empty: B separate sequences without states
    Walks* walks = nullptr;            // which tokens run which loop; null: all run all
    std::vector<torch::Tensor>* mixer_losses = nullptr;
    std::vector<LoopCarry>* carries = nullptr;  // one a layer, with state_carry
    const Taps* taps = nullptr;                 // as `taps` was when the pass began
    Tapped* tapped = nullptr;
  };
  struct Place {  // layers [first, last) of loop t
    int64_t t, first, last;
  };
  using Run = torch::Tensor (LoopedTransformer::*)(const torch::Tensor& h, const Place& place, const Pass& pass);
  torch::Tensor run(torch::Tensor h, Pass pass);
  torch::Tensor run_loop(const torch::Tensor& h, const Place& place, const Pass& pass);
  torch::Tensor run_block(const torch::Tensor& h, const Place& place, const Pass& pass);
  torch::Tensor run_layer(const torch::Tensor& h, const Place& place, const Pass& pass);
  torch::Tensor run_part(Recompute level, Run part, const torch::Tensor& h, const Place& place, const Pass& pass);
  torch::Tensor recompute_part(Run part, const torch::Tensor& h, const Place& place, const Pass& pass);
  template <class Make>
  void tap(const Pass& pass, TapPoint at, Make make) const;
  void tap_states(const Pass& pass, const Place& place, std::span<const SequenceRows> sequences) const;
  /// The input of the output projection, in the type of the products.
  torch::Tensor head_input(const torch::Tensor& h);
  torch::Tensor embed(const torch::Tensor& tokens) const;
  AttentionPlan plan_of(int64_t draw) const;

  ModelConfig config_;
  std::vector<std::string> types_;
  AttentionPlan plan_;  // of draw 0
  std::shared_ptr<PackCache> tied_pack_cache_;
};

/// Makes `taps` the taps of the model's passes while this object lives, in place of the previous ones.
class Listening {
 public:
  Listening(LoopedTransformer& model, const Taps& taps) : model_(model), before_(std::exchange(model.taps, &taps)) {}
  ~Listening() { model_.taps = before_; }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  LoopedTransformer& model_;
  const Taps* before_;
};

}  // namespace lt2
