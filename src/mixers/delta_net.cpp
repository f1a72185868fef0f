#include "mixers/delta_net.h"

#include "ops/gates/op.h"
#include "ops/rms_norm/op.h"

namespace lt2 {
namespace {

LinearMixerShape shape_of(const ModelConfig& c) {
  const int64_t H = *c.n_heads, D = c.dim;
  return {.heads = H,
          .key_dim = D / H,
          .value_dim = D / H,
          .delta = true,
          .convolutions = {{"q_conv1d", D}, {"k_conv1d", D}, {"v_conv1d", D}}};
}

}  // namespace

DeltaNet::DeltaNet(const ModelConfig& c) : LinearMixer(c, shape_of(c)), norm_eps_(c.norm_eps) {
  const int64_t D = c.dim;
  q_proj = register_module("q_proj", Linear(D, D));
  k_proj = register_module("k_proj", Linear(D, D));
  v_proj = register_module("v_proj", Linear(D, D));
  b_proj = register_module("b_proj", Linear(D, shape_.heads));
  o_proj = register_module("o_proj", Linear(D, D));
  q_conv1d = register_module("q_conv1d", ShortConv1d(D, shape_.conv_width));
  k_conv1d = register_module("k_conv1d", ShortConv1d(D, shape_.conv_width));
  v_conv1d = register_module("v_conv1d", ShortConv1d(D, shape_.conv_width));
  o_norm = register_module("o_norm", Norm(shape_.value_dim));
}

torch::Tensor DeltaNet::forward(const torch::Tensor& x, const MixerCall& call) {
  const auto qkv = linear_all(x, {&q_proj, &k_proj, &v_proj});
  LinearRecurrenceInput in;
  in.q = l2_norm(heads(convolve(qkv[0], q_conv1d, 0, /*silu=*/true, call)));
  in.k = l2_norm(heads(convolve(qkv[1], k_conv1d, 1, /*silu=*/true, call)));
  in.v = heads(convolve(qkv[2], v_conv1d, 2, /*silu=*/true, call));
  in.beta = write_strength(b_proj->forward(x), 1.0);
  in.scale = key_scale();
  const auto o = recur(in, call);
  return project(o_proj, rms_norm(o, o_norm->weight, norm_eps_, o.scalar_type()).flatten(2), call);
}

int64_t DeltaNet::saved_elements_per_token() const {
  // q and k before and after convolution and norm; v before and after the convolution, o, normed o; write strength.
  return shape_.heads * (2 * 3 * shape_.key_dim + 4 * shape_.value_dim + 3);
}

void DeltaNet::initialise_weights(Initialiser& init) {
  for (auto* map : {&q_proj, &k_proj, &v_proj, &b_proj, &o_proj}) init.projection((*map)->weight);
  for (auto* conv : {&q_conv1d, &k_conv1d, &v_conv1d}) initialise_convolution(init, *conv);
  Initialiser::constant(o_norm->weight, 1);
}

}  // namespace lt2
