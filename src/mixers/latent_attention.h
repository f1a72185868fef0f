#pragma once
// `mla`: multi-head latent attention. Keys and values are expanded from one small latent vector per token, and one
// rotated key vector is shared by all heads; these two are all that a state holds.
//
// Two forms, equal up to rounding. Expanded: k and v of every head, then attention as usual; for training and prefill.
// Absorbed: the key half of the expansion is applied to the query and the value half to the output, so that attention
// runs over the latents themselves as one shared key head; for decoding, which then reads c + r numbers per token.
// Source: arXiv 2405.04434.
#include "mixers/kv_state.h"
#include "mixers/mixer.h"
#include "mixers/parts.h"
#include "ops/linear/op.h"

namespace lt2 {

/// Two linear layers with an RMS-normed middle: `0.weight` [rank, in], `1.weight` [rank], `2.weight` [out, rank].
class NormedLowRankImpl : public torch::nn::Module {
 public:
  NormedLowRankImpl(int64_t in, int64_t rank, int64_t out);
  /// x [.., in] -> the normed middle [.., rank].
  torch::Tensor latent(const torch::Tensor& x);
  void initialise(Initialiser& init);

  Linear down{nullptr}, up{nullptr};
  Norm norm{nullptr};
};
TORCH_MODULE(NormedLowRank);

/// Normed latent and rotated shared key of the tokens seen, side by side.
class LatentState : public MixerState {
 public:
  LatentState(const StateOptions& options, int64_t width);

  struct Rows {
    torch::Tensor rows;      // [B, S, 1, c + r]; valid until the next append
    int64_t first_position;  // of row 0
  };
  /// Appends the rows of the next tokens [B, L, c + r]; returns every row that one of them may see.
  Rows append(const torch::Tensor& rows);

  NamedTensors tensors() const override;
  void restore(const NamedTensors& tensors, int64_t position) override;
  void fill_synthetic(int64_t tokens) override;
  std::unique_ptr<MixerState> clone(int64_t reserve_tokens) const override;
  void mark() override;
  void rewind(int64_t keep) override;

 private:
  TokenRows rows_;
  int64_t marked_ = 0;  // position
};

// D model dim, H heads; r rotated and n other channels of a query or key, v of a value, c of the latent; cq rank of the
// query projection
class LatentAttention : public Mixer {
 public:
  explicit LatentAttention(const ModelConfig& config);
  /// Within a call with a state, the tokens between two absolute multiples of 64 run in the absorbed form if they are
  /// fewer than 8, else expanded: so a prefill split at multiples of 64 equals a whole one bit for bit. Every prefill
  /// chunk expands the whole cached context again. Its memory is bounded (a group of heads at a time), its time is not:
  /// long prefills need large chunks.
  torch::Tensor forward(const torch::Tensor& x, const MixerCall& call) override;
  std::unique_ptr<MixerState> make_state(const StateOptions& options) const override;
  int64_t state_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  int64_t allocated_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  int64_t state_traffic_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const override;
  /// Of the expanded form.
  double flops_per_token(int64_t context, std::optional<int64_t> window) const override;
  int64_t saved_elements_per_token() const override;
  void initialise(Initialiser& init) override;
  std::vector<const LinearImpl*> read_maps() const override { return {kv_proj->up.get()}; }

  Linear q_proj{nullptr};             // [H (n + r), D]  without mla_q_lora_rank, or
  NormedLowRank q_low_rank{nullptr};  // q_proj.0 [cq, D], q_proj.1 [cq], q_proj.2 [H (n + r), cq]
  Linear k_rope{nullptr};             // [r, D]
  NormedLowRank kv_proj{nullptr};     // kv_proj.0 [c, D], kv_proj.1 [c], kv_proj.2 [H (n + v), c]
  Linear o_proj{nullptr};             // [D, H v]

 private:
  /// Queries [B, L, H, .] of tokens that see the last `S` rows; plain and rotated channels in separate tensors.
  struct Queries {
    torch::Tensor plain, rotated;
    Queries part(int64_t begin, int64_t count) const;
  };
  struct Absorbed {
    torch::Tensor key;    // [H, n, c]
    torch::Tensor value;  // [H, c, v]
  };
  torch::Tensor attend_all(const Queries& q, const LatentState::Rows& seen);
  torch::Tensor attend_expanded(const Queries& q, const torch::Tensor& rows, int64_t first_position);
  torch::Tensor attend_absorbed(const Queries& q, const torch::Tensor& rows, int64_t first_position);
  /// kv_proj.2 as the absorbed form multiplies with it: fp32, rounded to `type`. Made once per weight version.
  const Absorbed& absorbed(torch::ScalarType type);

  int64_t dim_, heads_, rope_dim_, plain_dim_, value_dim_, latent_dim_, q_rank_;
  std::optional<int64_t> window_;
  double rope_theta_, scale_;

  Absorbed absorbed_;
  torch::Tensor absorbed_from_;  // shares the weight's memory and version
  int64_t absorbed_version_ = -1;
  torch::ScalarType absorbed_type_ = torch::kFloat32;
};

}  // namespace lt2
