#include "mixers/gated_linear_attention.h"

#include "ops/gates/op.h"
#include "ops/rms_norm/op.h"

namespace lt2 {
namespace {

// Defaults of the reference layer.
constexpr int64_t kGateRank = 16;
constexpr double kDecayDivisor = 16, kOutputNormEps = 1e-5;

LinearMixerShape shape_of(const ModelConfig& c) {
  const int64_t H = *c.n_heads;
  return {.heads = H, .key_dim = c.dim / 2 / H, .value_dim = c.dim / H, .delta = false, .convolutions = {}};
}

}  // namespace

GatedLinearAttention::GatedLinearAttention(const ModelConfig& c) : LinearMixer(c, shape_of(c)) {
  const int64_t D = c.dim;
  q_proj = register_module("q_proj", Linear(D, D / 2));
  k_proj = register_module("k_proj", Linear(D, D / 2));
  v_proj = register_module("v_proj", Linear(D, D));
  gk_proj = register_module("gk_proj", LowRank(D, kGateRank, D / 2, /*biased=*/true));
  g_proj = register_module("g_proj", Linear(D, D));
  o_proj = register_module("o_proj", Linear(D, D));
  g_norm_swish_gate = register_module("g_norm_swish_gate", Norm(shape_.value_dim));
}

torch::Tensor GatedLinearAttention::forward(const torch::Tensor& x, const MixerCall& call) {
  const auto qkv = linear_all(x, {&q_proj, &k_proj, &v_proj});
  LinearRecurrenceInput in;
  in.q = heads(qkv[0]);
  in.k = heads(qkv[1]);
  in.v = heads(qkv[2]);
  in.g = heads(log_sigmoid(gk_proj->product(x), kDecayDivisor, gk_proj->bias()));
  in.scale = key_scale();
  const auto o = recur(in, call);
  const auto y = rms_norm_silu_gate(o, g_proj->forward(x), g_norm_swish_gate->weight, kOutputNormEps);
  return project(o_proj, y.flatten(2), call);
}

int64_t GatedLinearAttention::saved_elements_per_token() const {
  // q, k, decay logits and decay (fp32); v, o, gate, gated o; the narrow middle.
  return shape_.heads * (5 * shape_.key_dim + 4 * shape_.value_dim) + kGateRank;
}

void GatedLinearAttention::initialise_weights(Initialiser& init) {
  for (auto* map : {&q_proj, &k_proj, &v_proj, &g_proj, &o_proj}) init.projection((*map)->weight);
  gk_proj->initialise(init);
  Initialiser::constant(g_norm_swish_gate->weight, 1);
}

}  // namespace lt2
