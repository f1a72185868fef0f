#pragma once
// What every token mixer is to the model: a module from [B, L, D] to [B, L, D] that can continue from a state.
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

/// What one (loop, layer) call remembers of a batch of sequences.
class MixerState {
 public:
  virtual ~MixerState() = default;
  /// Exactly what continuing needs, as named tensors (views where possible): what a saved state holds and what it
  /// weighs.
  virtual NamedTensors tensors() const = 0;
  /// Takes over tensors that `tensors()` gave (maybe in another process). Throws lt2::Error for a missing name or a
  /// wrong shape.
  virtual void restore(const NamedTensors& tensors, int64_t position) = 0;
  /// As if `tokens` tokens had been seen, with arbitrary finite contents: long contexts for benchmarks without their
  /// prefill.
  virtual void fill_synthetic(int64_t tokens) = 0;
  /// Another state that continues from the same point and shares no memory with this one; room for `reserve_tokens`.
  virtual std::unique_ptr<MixerState> clone(int64_t reserve_tokens) const = 0;
  /// Remembers this point until rewind() or the next mark(), so that tokens that follow can be taken back. At most
  /// kMostRewound tokens may follow. Not while training.
  virtual void mark() = 0;
  /// As if of the tokens since mark() only the first `keep` had been seen. Bits as if they alone had been run, token by
  /// token or as they were run, up to the rounding between these two.
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
  torch::ScalarType dtype = torch::kFloat32;  // of caches and conv tails; recurrent matrices are fp32 always
  torch::Device device = torch::kCPU;
  std::optional<int64_t> window;  // as the attention pattern says; none for mixers that see no windows
  int64_t reserve_tokens = 0;     // room for this many tokens without growing
};

/// What a linear mixer hands to its next loop under `state_carry: token`: the inputs of its recurrence, which the next
/// loop reads with its own queries. Without gradients that read may overwrite `state`: keep a carry no longer. Source:
/// docs/architecture.md, "State carried across loops" (ours, not the paper's).
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

/// Whose tokens a call runs, and the memories that they continue:
/// - nobody's: x [B, L, D] holds B sequences from their first token on, and nothing is remembered (training);
/// - of one state: x [B, L, D] continues it, a state of batch B;
/// - of several: x [1, R, D], without gradients, holds their rows one after the other, and each continues its own
/// state.
///   A sequence's results do not depend, bit for bit, on the others.
/// States are left after the last token; no gradient flows through them.
class CallSequences {
 public:
  CallSequences() = default;
  /// Null: nobody's.
  CallSequences(MixerState* state) : one_(state) {}  // NOLINT: `.sequences = state` reads well
  /// `rows` must outlive the call; one of them is the same as that state alone.
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
  std::optional<int64_t> window;  // visible keys; given to mixers that see windows alone (config/patterns.h)
  CallSequences sequences;
  torch::Tensor residual;      // [B, L, D] fp32: the call returns residual + mixer(x) in fp32; undefined: mixer(x)
  LoopCarry* carry = nullptr;  // with state_carry: this layer's previous loop; the call replaces it by its own
  std::vector<torch::Tensor>* losses = nullptr;  // training: a mixer with a loss of its own appends it, a scalar fp32
};

class Mixer : public torch::nn::Module {
 public:
  /// x [B, L, D] fp32 or bf16, normed -> [B, L, D], see MixerCall::residual.
  virtual torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) = 0;
  /// An empty state: a sequence that has not begun.
  virtual std::unique_ptr<MixerState> make_state(const StateOptions& options) const = 0;
  /// Bytes of one sequence's state after `tokens` tokens, in the given cache type.
  virtual int64_t state_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const = 0;
  /// The same, as its buffers are allocated: what grows or slides has room for more than it holds.
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
  /// Maps whose weight the mixer reads itself, beside multiplying with it: inference keeps them as they are.
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

/// What `part(rows, state)` makes of each sequence's rows of `rows` ([1, R, ..] each), put together along dim 1: for
/// the steps of a mixer that know of a token's place. Unless there are several it is part(rows, call.sequences.one()).
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
