#include "mixers/kimi_delta_attention.h"

#include <cmath>

#include "ops/gates/op.h"
#include "ops/rms_norm/op.h"
#include "ops/swiglu/op.h"

namespace lt2 {
namespace {

LinearMixerShape shape_of(const ModelConfig& c) {
  const int64_t H = *c.n_heads, K = c.dim / H;
  const auto V = std::llround(static_cast<double>(K) * c.kda.expand_v);
  return {.heads = H,
          .key_dim = K,
          .value_dim = V,
          .delta = true,
          .convolutions = {{"q_conv1d", H * K}, {"k_conv1d", H * K}, {"v_conv1d", H * V}}};
}

}  // namespace

KimiDeltaAttention::KimiDeltaAttention(const ModelConfig& c) : LinearMixer(c, shape_of(c)), norm_eps_(c.norm_eps) {
  const int64_t D = c.dim, H = shape_.heads, K = H * shape_.key_dim, V = H * shape_.value_dim;
  const int64_t rank = shape_.value_dim;
  q_proj = register_module("q_proj", Linear(D, K));
  k_proj = register_module("k_proj", Linear(D, K));
  v_proj = register_module("v_proj", Linear(D, V));
  f_proj = register_module("f_proj", LowRank(D, rank, K, /*biased=*/false));
  b_proj = register_module("b_proj", Linear(D, H));
  g_proj = register_module("g_proj", LowRank(D, rank, V, /*biased=*/true));
  o_proj = register_module("o_proj", Linear(V, D));
  q_conv1d = register_module("q_conv1d", ShortConv1d(K, shape_.conv_width));
  k_conv1d = register_module("k_conv1d", ShortConv1d(K, shape_.conv_width));
  v_conv1d = register_module("v_conv1d", ShortConv1d(V, shape_.conv_width));
  o_norm = register_module("o_norm", Norm(shape_.value_dim));
  A_log = register_parameter("A_log", torch::empty({H}));
  dt_bias = register_parameter("dt_bias", torch::empty({K}));
}

torch::Tensor KimiDeltaAttention::forward(const torch::Tensor& x, const MixerCall& call) {
  const auto qkv = linear_all(x, {&q_proj, &k_proj, &v_proj});
  LinearRecurrenceInput in;
  in.q = l2_norm(heads(convolve(qkv[0], q_conv1d, 0, /*silu=*/true, call)));
  in.k = l2_norm(heads(convolve(qkv[1], k_conv1d, 1, /*silu=*/true, call)));
  in.v = heads(convolve(qkv[2], v_conv1d, 2, /*silu=*/true, call));
  in.g = heads(log_decay(f_proj->forward(x), A_log, dt_bias));
  in.beta = write_strength(b_proj->forward(x), 1.0);
  in.scale = key_scale();
  const auto o = recur(in, call);
  const auto normed = rms_norm(o, o_norm->weight, norm_eps_, o.scalar_type()).flatten(2);
  return project(o_proj, sigmoid_gate(normed, g_proj->forward(x)), call);
}

int64_t KimiDeltaAttention::saved_elements_per_token() const {
  // q and k before and after convolution and norm, decay logits and decay (fp32); v before and after the convolution,
  // o, normed o, gate, gated o; the two narrow middles and the write strength.
  return shape_.heads * (9 * shape_.key_dim + 6 * shape_.value_dim + 3) + 2 * shape_.value_dim;
}

void KimiDeltaAttention::initialise_weights(Initialiser& init) {
  for (auto* map : {&q_proj, &k_proj, &v_proj, &b_proj, &o_proj}) init.projection((*map)->weight);
  f_proj->initialise(init);
  g_proj->initialise(init);
  for (auto* conv : {&q_conv1d, &k_conv1d, &v_conv1d}) initialise_convolution(init, *conv);
  Initialiser::constant(o_norm->weight, 1);
  initialise_decay(init, A_log, dt_bias, 1, 16);
}

}  // namespace lt2
