#pragma once
// `nsa`: native sparse attention. Three branches over the same queries, keys and values, mixed by gates per head: means
// of blocks, the chosen blocks' tokens, a sliding window. Source: arXiv 2502.11089; names as in its reference layer.
#include "mixers/mixer.h"
#include "mixers/sparse_state.h"
#include "ops/linear/op.h"

namespace lt2 {

// D model dim, H heads, Hk key heads, E head dim
class NativeSparseAttention : public Mixer {
 public:
  explicit NativeSparseAttention(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  std::unique_ptr<MixerState> make_state(const StateOptions& options) const override;
  int64_t state_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  int64_t state_traffic_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  double flops_per_token(int64_t context, std::optional<int64_t> window) const override;
  int64_t saved_elements_per_token() const override;
  void initialise(Initialiser& init) override;

  struct Branches {
    torch::Tensor compressed, selected;  // [B, L, H, E]
    torch::Tensor windowed;              // [B, L, H, E]; undefined without a window
    torch::Tensor blocks;                // [B, L, Hk, up to nsa_block_counts] int32, ascending, then -1
  };
  /// The branches before gating, of x [B, L, D] from a sequence's first token: what forward mixes.
  Branches branches(const torch::Tensor& x);

  Linear q_proj{nullptr};  // [H E, D]    and .bias [H E] with nsa_qkv_bias
  Linear k_proj{nullptr};  // [Hk E, D]   and .bias
  Linear v_proj{nullptr};  // [Hk E, D]   and .bias
  Linear g_proj{nullptr};  // [3 H, D]    logits of compression, selection, window of each head
  Linear o_proj{nullptr};  // [D, H E]

 private:
  /// q, k and v [B, L, heads, E], not rotated yet.
  std::vector<torch::Tensor> project(const torch::Tensor& x);
  Branches attend(const std::vector<torch::Tensor>& qkv, NsaState* state);

  int64_t dim_, heads_, kv_heads_, head_dim_, block_size_, block_counts_, window_;
  double rope_theta_;
};

}  // namespace lt2
