#pragma once
// The interface of every token mixer: a module from [B, L, D] to [B, L, D] that can continue from a state.
//
// Training is the case without a state; prefill, chunked prefill and decode are the same call with one. There is no
// second path.
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/named_tensors.h"
#include "config/train_config.h"
#include "mixers/init.h"
#include "ops/linear/op.h"

namespace lt2 {

/// The state of one (loop, layer) for a batch of sequences.
class MixerState {
 public:
  virtual ~MixerState() = default;
  /// Exactly the tensors that continuing needs, with names (views where possible): a saved state holds these, and
  /// bytes() counts them.
  virtual NamedTensors tensors() const = 0;
  /// Takes over tensors that `tensors()` gave (maybe in another process). Throws lt2::Error for a missing name or a
  /// wrong shape.
  virtual void restore(const NamedTensors& tensors, int64_t position) = 0;
  /// Fills the state as if `tokens` tokens had been seen, with arbitrary finite contents: benchmarks get long contexts
  /// without a prefill.
  virtual void fill_synthetic(int64_t tokens) = 0;
  /// Another state that continues from the same point and shares no memory with this one; room for `reserve_tokens`.
  virtual std::unique_ptr<MixerState> clone(int64_t reserve_tokens) const = 0;
  /// Remembers this point until rewind() or the next mark(), so that tokens that follow can be taken back. At most
  /// kMostRewound tokens may follow. Not while training.
  virtual void mark() = 0;
  /// Takes back all tokens since mark() but the first `keep`. The bits are as if only these had run, token by token or
  /// in the calls in which they ran, up to the rounding between the two.
  virtual void rewind(int64_t keep) = 0;
  /// Bytes of tensors().
  int64_t bytes() const;
  /// Tokens seen.
  int64_t position = 0;
};

/// Tokens that may follow a MixerState::mark().
inline constexpr int64_t kMostRewound = 64;

struct StateOptions {
  int64_t batch = 1;
  torch::ScalarType dtype = torch::kFloat32;  // of caches and conv tails; recurrent matrices are always fp32
  torch::Device device = torch::kCPU;
  std::optional<int64_t> window;  // as the attention pattern says; none for mixers that see no windows
  int64_t reserve_tokens = 0;     // room for this many tokens without growing
};

/// What a linear mixer passes to its next loop under `state_carry: token`: the inputs of its recurrence, which the next
/// loop reads with its own queries. Without gradients that read may overwrite `states`: do not use a carry after it.
/// Source: docs/architecture.md, "State carried across loops" (ours, not the paper's).
struct LoopCarry {
  torch::Tensor k, v, g, beta;  // as LinearRecurrenceInput has them; all undefined before the first loop
  std::vector<torch::Tensor>
      states;  // [B, H, K, V] fp32 before these tokens, one a sequence of the call; undefined: zero
};

/// The next tokens of one of several sequences that a call runs together.
struct SequenceRows {
  MixerState* state;  // of batch 1
  int64_t count;      // its rows of x
};

/// The sequences whose tokens a call runs, and the states that they continue:
/// - no state: x [B, L, D] holds B sequences from their first token on, and no state is kept (training);
/// - one state: x [B, L, D] continues it, a state of batch B;
/// - several states: x [1, R, D], without gradients, holds the sequences' rows one after the other. Each sequence
///   continues its own state; its results do not depend on the others, bit for bit.
/// The call leaves the states after the last token; no gradient flows through them.
class CallSequences {
 public:
  CallSequences() = default;
  /// Null: no state.
  CallSequences(MixerState* state) : one_(state) {}  // NOLINT: `.sequences = state` reads well
  /// `rows` must outlive the call; a single one is the same as its state alone.
  CallSequences(std::span<const SequenceRows> rows) {  // NOLINT
    if (rows.size() == 1) one_ = rows[0].state;
    if (rows.size() > 1) several_ = rows;
  }
  /// Empty unless there are several.
  std::span<const SequenceRows> several() const { return several_; }
  /// Null if there is none, or several.
  MixerState* one() const { return one_; }

 private:
  MixerState* one_ = nullptr;
  std::span<const SequenceRows> several_;
};

struct MixerCall {
  std::optional<int64_t> window;  // visible keys; only for mixers that see windows (config/patterns.h)
  CallSequences sequences;
  torch::Tensor residual;      // [B, L, D] fp32: the call returns residual + mixer(x) in fp32; undefined: mixer(x)
  LoopCarry* carry = nullptr;  // with state_carry: this layer's previous loop; the call replaces it with its own
  std::vector<torch::Tensor>* losses = nullptr;  // training: a mixer that has a loss appends it, a scalar fp32
};

class Mixer : public torch::nn::Module {
 public:
  /// x [B, L, D] fp32 or bf16, normed -> [B, L, D], see MixerCall::residual.
  virtual torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) = 0;
  /// An empty state: a sequence that has not begun.
  virtual std::unique_ptr<MixerState> make_state(const StateOptions& options) const = 0;
  /// Bytes of one sequence's state after `tokens` tokens, in the given cache type.
  virtual int64_t state_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const = 0;
  /// The same for the allocated buffers: caches that grow or slide have room for more than they hold.
  virtual int64_t allocated_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const {
    return state_bytes(tokens, window, dtype);
  }
  /// Bytes of one sequence's state that decoding a token after `tokens` tokens reads and writes.
  virtual int64_t state_traffic_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const = 0;
  /// Multiply-adds x 2 of one token's forward pass that sees `context` tokens, projections included.
  virtual double flops_per_token(int64_t context, std::optional<int64_t> window) const = 0;
  /// Elements per token that the backward pass keeps from the forward pass, in the type of the products (for memory
  /// plans).
  virtual int64_t saved_elements_per_token() const = 0;
  /// Linear layers whose weight the mixer also reads directly: inference does not pack them.
  virtual std::vector<const LinearImpl*> read_maps() const { return {}; }
  /// Fills all parameters as the official code distributes them.
  virtual void initialise(Initialiser& init) = 0;
  /// Where the parameters stand in the official state dict: "layers.{i}." + this + name.
  virtual std::string prefix() const { return "attention."; }
};

/// The mixer of a layer type ("full", "gdn", ...) for a validated configuration. Throws lt2::Error for a type that this
/// version does not run.
std::shared_ptr<Mixer> make_mixer(const std::string& type, const ModelConfig& config);
/// Types that make_mixer knows.
std::vector<std::string> mixer_types();

/// Calls `part(rows, state)` for each sequence's rows of the tensors `rows` ([1, R, ..] each) and concatenates the
/// results along dim 1: for the steps of a mixer that depend on a token's position. Without several sequences it is
/// part(rows, call.sequences.one()).
template <class Part>
torch::Tensor each_sequence(const MixerCall& call, const std::vector<torch::Tensor>& rows, Part part) {
  const auto several = call.sequences.several();
  if (several.empty()) return part(rows, call.sequences.one());
  std::vector<torch::Tensor> out, own(rows.size());
  out.reserve(several.size());
  int64_t begin = 0;
  for (const auto& [state, count] : several) {
    for (size_t i = 0; i < rows.size(); ++i) own[i] = rows[i].narrow(1, begin, count);
    out.push_back(part(own, state));
    begin += count;
  }
  return torch::cat(out, 1);
}

/// Parameters of `module` with names relative to it, in registration order.
NamedTensors parameters_of(const torch::nn::Module& module);

/// Finds `name` in `tensors` with the wanted shape (-1: any) or throws lt2::Error.
torch::Tensor take(const NamedTensors& tensors, const std::string& name, const std::vector<int64_t>& shape);

}  // namespace lt2
