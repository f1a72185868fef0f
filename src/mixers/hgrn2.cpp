#include "mixers/hgrn2.h"

#include "ops/gates/op.h"
#include "ops/rms_norm/op.h"

namespace lt2 {
namespace {

constexpr double kOutputNormEps = 1e-5;  // the official layer does not pass norm_eps to its fused norm

LinearMixerShape shape_of(const ModelConfig& c) {
  const int64_t H = *c.n_heads, D = c.dim;
  LinearMixerShape shape{.heads = H, .key_dim = D / H, .value_dim = D / H, .delta = false, .convolutions = {}};
  if (c.hgrn2.use_short_conv) {
    shape.convolutions = {{"q_conv1d", D}, {"f_conv1d", D}, {"i_conv1d", D}};
    shape.conv_width = c.hgrn2.conv_size;
  }
  return shape;
}

}  // namespace

Hgrn2::Hgrn2(const ModelConfig& c) : LinearMixer(c, shape_of(c)) {
  const int64_t D = c.dim;
  q_proj = register_module("q_proj", Linear(D, D));
  f_proj = register_module("f_proj", Linear(D, D));
  i_proj = register_module("i_proj", Linear(D, D));
  o_proj = register_module("o_proj", Linear(D, D));
  if (c.hgrn2.use_short_conv) {
    q_conv1d = register_module("q_conv1d", ShortConv1d(D, shape_.conv_width, c.hgrn2.conv_bias));
    f_conv1d = register_module("f_conv1d", ShortConv1d(D, shape_.conv_width, c.hgrn2.conv_bias));
    i_conv1d = register_module("i_conv1d", ShortConv1d(D, shape_.conv_width, c.hgrn2.conv_bias));
  }
  g_norm = register_module("g_norm", Norm(D));
}

torch::Tensor Hgrn2::forward(const torch::Tensor& x, const MixerCall& call) {
  const auto qfi = linear_all(x, {&q_proj, &f_proj, &i_proj});
  const auto mixed = [&](const ShortConv1d& conv, size_t i) {
    return conv ? convolve(qfi[i], conv, i, /*silu=*/false, call) : qfi[i];
  };
  const auto f = mixed(f_conv1d, 1);
  LinearRecurrenceInput in;
  in.q = heads(swish(mixed(q_conv1d, 0)));
  in.k = heads(one_minus_sigmoid(f));
  in.v = heads(mixed(i_conv1d, 2));
  in.g = heads(log_sigmoid(f, 1, {}));
  in.scale = key_scale();
  const auto o = recur(in, call).flatten(2);
  return project(o_proj, rms_norm(o, g_norm->weight, kOutputNormEps, o.scalar_type()), call);
}

int64_t Hgrn2::saved_elements_per_token() const {
  // q before and after SiLU, f, k, decay (fp32), v, o, normed o; the input of each convolution.
  return shape_.heads * shape_.key_dim * (9 + static_cast<int64_t>(shape_.convolutions.size()));
}

void Hgrn2::initialise_weights(Initialiser& init) {
  for (auto* map : {&q_proj, &f_proj, &i_proj, &o_proj}) init.projection((*map)->weight);
  for (auto* conv : {&q_conv1d, &f_conv1d, &i_conv1d}) {
    if (*conv) initialise_convolution(init, *conv);
  }
  Initialiser::constant(g_norm->weight, 1);
}

}  // namespace lt2
