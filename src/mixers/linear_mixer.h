#pragma once
// The parts that mixers with a `linear_recurrence` share: convolutions and the recurrence that continue from a state,
// the state carried across loops, the output product, and the accounting.
//
// State carried across loops (`state_carry: token`, ours): in loop t >= 1 a mixer also reads the state that the same
// layer had at each token in the previous loop, with its own queries of this loop:
//     o_i = scale (S_i(t)^T q_i(t) + state_gate[h] S_i(t-1)^T q_i(t))
// before whatever follows the recurrence (mamba2: before D and the gate). S(t-1) is computed again from that loop's k,
// v, g, beta, in MixerCall::carry, so prefill needs no state per token. Causal: S_i(t-1) has seen tokens up to i only.
#include "mixers/linear_state.h"
#include "mixers/mixer.h"
#include "mixers/parts.h"
#include "ops/linear/op.h"
#include "ops/linear_recurrence/op.h"

namespace lt2 {

/// What the shared parts need to know about a mixer.
struct LinearMixerShape {
  int64_t heads, key_dim, value_dim;
  bool delta;                                                 // delta write; else additive
  std::vector<std::pair<std::string, int64_t>> convolutions;  // official name and channels
  int64_t conv_width = 4;
};

class LinearMixer : public Mixer {
 public:
  std::unique_ptr<MixerState> make_state(const StateOptions& options) const override;
  int64_t state_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  int64_t state_traffic_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  double flops_per_token(int64_t context, std::optional<int64_t> window) const override;
  void initialise(Initialiser& init) final;

  torch::Tensor state_gate;  // [H] fp32, only with state_carry; zero at the start: the carried read is off

 protected:
  LinearMixer(const ModelConfig& config, LinearMixerShape shape);

  /// Fills the mixer's own parameters.
  virtual void initialise_weights(Initialiser& init) = 0;
  /// Multiply-adds of one token besides the recurrence and one for each element of a weight.
  virtual double extra_products() const { return 0; }

  /// [B, L, H n] -> [B, L, H, n].
  torch::Tensor heads(const torch::Tensor& x) const;
  /// Convolution i of the shape over x [B, L, channels]; with a state it continues from tail i and replaces it.
  torch::Tensor convolve(const torch::Tensor& x, const ShortConv1d& conv, size_t i, bool silu,
                         const MixerCall& call) const;
  /// Fills in state and position, runs the recurrence and, with a carry, the carried read; advances the state past
  /// these tokens. Without gradients it writes the state and the states of `call.carry` in place. -> o [B, L, H, V]
  torch::Tensor recur(const LinearRecurrenceInput& all, const MixerCall& call) const;
  /// y [B, L, n] through the output projection, with the call's residual.
  static torch::Tensor project(Linear& output, const torch::Tensor& y, const MixerCall& call);
  /// K^-1/2: the scale of every mixer but mamba2.
  double key_scale() const;

  const LinearMixerShape shape_;
};

}  // namespace lt2
