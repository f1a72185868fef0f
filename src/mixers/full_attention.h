#pragma once
// `full`: causal softmax attention with grouped heads, optional sliding window and optional sigmoid output gate.
// Source: lingua; names and rotary layout as there.
#include "mixers/kv_state.h"
#include "mixers/mixer.h"
#include "ops/linear/op.h"
#include "ops/rope/op.h"

namespace lt2 {

// D model dim, H heads, Hk key heads, E head dim
class FullAttention : public Mixer {
 public:
  explicit FullAttention(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  std::unique_ptr<MixerState> make_state(const StateOptions& options) const override;
  int64_t state_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  int64_t allocated_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  int64_t state_traffic_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  double flops_per_token(int64_t context, std::optional<int64_t> window) const override;
  int64_t saved_elements_per_token() const override;
  void initialise(Initialiser& init) override;

  Linear wq{nullptr};      // [H E, D]
  Linear wk{nullptr};      // [Hk E, D]
  Linear wv{nullptr};      // [Hk E, D]
  Linear wo{nullptr};      // [D, H E]
  Linear w_gate{nullptr};  // [H E, D]   with use_attn_gate

 private:
  int64_t dim_, heads_, kv_heads_, head_dim_;
  double rope_theta_;
  RopeLayout rope_layout_;
};

}  // namespace lt2
