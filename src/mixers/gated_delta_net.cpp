#include "mixers/gated_delta_net.h"

#include <cmath>

#include "ops/gates/op.h"
#include "ops/rms_norm/op.h"

namespace lt2 {
namespace {

constexpr double kOutputNormEps = 1e-5;  // the official block never passes norm_eps here

LinearMixerShape shape_of(const ModelConfig& c) {
  const int64_t H = *c.n_heads;
  const int64_t K = c.gdn.key_dim(c), V = c.gdn.value_dim(c);
  return {.heads = H,
          .key_dim = K,
          .value_dim = V,
          .delta = true,
          .convolutions = {{"q_conv1d", H * K}, {"k_conv1d", H * K}, {"v_conv1d", H * V}}};
}

}  // namespace

GatedDeltaNet::GatedDeltaNet(const ModelConfig& c)
    : LinearMixer(c, shape_of(c)), allow_neg_eigval_(c.gdn.allow_neg_eigval) {
  const int64_t D = c.dim, H = shape_.heads, K = H * shape_.key_dim, V = H * shape_.value_dim;
  q_proj = register_module("q_proj", Linear(D, K));
  k_proj = register_module("k_proj", Linear(D, K));
  v_proj = register_module("v_proj", Linear(D, V));
  a_proj = register_module("a_proj", Linear(D, H));
  b_proj = register_module("b_proj", Linear(D, H));
  g_proj = register_module("g_proj", Linear(D, V));
  o_proj = register_module("o_proj", Linear(V, D));
  q_conv1d = register_module("q_conv1d", ShortConv1d(K, shape_.conv_width));
  k_conv1d = register_module("k_conv1d", ShortConv1d(K, shape_.conv_width));
  v_conv1d = register_module("v_conv1d", ShortConv1d(V, shape_.conv_width));
  o_norm = register_module("o_norm", Norm(shape_.value_dim));
  A_log = register_parameter("A_log", torch::empty({H}));
  dt_bias = register_parameter("dt_bias", torch::empty({H}));
}

torch::Tensor GatedDeltaNet::forward(const torch::Tensor& x, const MixerCall& call) {
  // The wide linear layers together, and the two narrow ones together: one call each if there are few rows.
  const auto wide = linear_all(x, {&q_proj, &k_proj, &v_proj, &g_proj}), narrow = linear_all(x, {&a_proj, &b_proj});
  LinearRecurrenceInput in;
  in.q = l2_norm(heads(convolve(wide[0], q_conv1d, 0, /*silu=*/true, call)));
  in.k = l2_norm(heads(convolve(wide[1], k_conv1d, 1, /*silu=*/true, call)));
  in.v = heads(convolve(wide[2], v_conv1d, 2, /*silu=*/true, call));
  in.g = log_decay(narrow[0], A_log, dt_bias);
  in.beta = write_strength(narrow[1], allow_neg_eigval_ ? 2.0 : 1.0);
  in.scale = key_scale();
  const auto o = recur(in, call);
  return project(o_proj, rms_norm_silu_gate(o, wide[3], o_norm->weight, kOutputNormEps).flatten(2), call);
}

int64_t GatedDeltaNet::saved_elements_per_token() const {
  // q and k before and after convolution and norm; v before and after the convolution, o, gate, gated o; decay and
  // write strength.
  return shape_.heads * (2 * 3 * shape_.key_dim + 5 * shape_.value_dim + 4);
}

void GatedDeltaNet::initialise_weights(Initialiser& init) {
  for (auto* map : {&q_proj, &k_proj, &v_proj, &a_proj, &b_proj, &g_proj, &o_proj}) init.projection((*map)->weight);
  for (auto* conv : {&q_conv1d, &k_conv1d, &v_conv1d}) initialise_convolution(init, *conv);
  Initialiser::constant(o_norm->weight, 1);
  initialise_decay(init, A_log, dt_bias, 0, 16);
}

}  // namespace lt2
