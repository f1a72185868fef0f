#pragma once
// `dsa`: DeepSeek sparse attention. One key-value row per token; each query attends to the dsa_topk rows that an index
// scores highest. Two indexes: the reference's (untrained projections) and the lightning indexer with its own loss.
// Source: DeepSeek-V3.2; names as in its reference layer.
#include "mixers/mixer.h"
#include "mixers/sparse_state.h"
#include "ops/index_topk/op.h"
#include "ops/linear/op.h"

namespace lt2 {

/// Weight and bias of a layer norm over the last axis.
class LayerNormImpl : public torch::nn::Module {
 public:
  explicit LayerNormImpl(int64_t width);
  /// x [.., width] -> same type, arithmetic in fp32.
  torch::Tensor forward(const torch::Tensor& x);
  torch::Tensor weight, bias;  // [width]
};
TORCH_MODULE(LayerNorm);

// J index heads, F channels of one
class LightningIndexerImpl : public torch::nn::Module {
 public:
  explicit LightningIndexerImpl(const ModelConfig& config);
  /// x [B, L, D], tokens from `position` on -> q [B, L, J, F], k [B, L, F], weights [B, L, J] fp32; no gradient flows
  /// to x.
  IndexTopkInput forward(const torch::Tensor& x, int64_t position);
  void initialise(Initialiser& init);

  Linear wq{nullptr};            // [J F, D]
  Linear wk{nullptr};            // [F, D]
  LayerNorm k_norm{nullptr};     // [F]
  Linear weights_proj{nullptr};  // [J, D]

 private:
  /// The first rope_dim channels of x [B, L, heads, F] rotated.
  torch::Tensor rotate(const torch::Tensor& x, int64_t position) const;
  int64_t heads_, head_dim_, rope_dim_;
  double rope_theta_;
};
TORCH_MODULE(LightningIndexer);

// D model dim, H heads, V = dsa_dim, E = dsa_dim + dsa_tail_dim
class DeepseekSparseAttention : public Mixer {
 public:
  explicit DeepseekSparseAttention(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  std::unique_ptr<MixerState> make_state(const StateOptions& options) const override;
  int64_t state_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  int64_t state_traffic_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  double flops_per_token(int64_t context, std::optional<int64_t> window) const override;
  int64_t saved_elements_per_token() const override;
  void initialise(Initialiser& init) override;
  std::string prefix() const override { return ""; }

  /// The input of the key selection, for tokens x [B, L, D] from `position` on.
  IndexTopkInput index_input(const torch::Tensor& x, int64_t position);
  /// One sequence's tokens x [B, L, D] with their queries [B, L, H, E] and rows kv [B, L, E] -> o [B, L, H, dsa_dim].
  torch::Tensor attend(const torch::Tensor& x, const torch::Tensor& q, torch::Tensor kv, DsaState* state,
                       std::vector<torch::Tensor>* losses);

  Linear q_proj{nullptr};             // [H E, D]
  Linear kv_proj{nullptr};            // [E, D]
  Linear o_proj{nullptr};             // [D, H V]
  Linear q_score_proj{nullptr};       // [H F, D]   dsa_indexer: reference; never trained
  Linear k_score_proj{nullptr};       // [F, D]     the same
  LightningIndexer indexer{nullptr};  //            dsa_indexer: lightning

 private:
  int64_t dim_, heads_, value_dim_, kv_dim_, topk_, index_heads_, index_dim_;
  double scale_;
  bool dense_loss_;
};

}  // namespace lt2
