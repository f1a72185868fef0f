#include "mixers/mamba2.h"

#include "ops/gates/op.h"
#include "ops/per_channel/op.h"
#include "ops/rms_norm/op.h"
#include "ops/swiglu/op.h"

namespace lt2 {
namespace {

LinearMixerShape shape_of(const ModelConfig& c) {
  const int64_t inner = c.mamba2.expand * c.dim;
  return {.heads = *c.n_heads,
          .key_dim = c.mamba2.d_state,
          .value_dim = inner / *c.n_heads,
          .delta = false,
          .convolutions = {{"conv1d", inner + 2 * c.mamba2.d_state}},
          .conv_width = c.mamba2.d_conv};
}

}  // namespace

Mamba2::Mamba2(const ModelConfig& c)
    : LinearMixer(c, shape_of(c)), inner_(c.mamba2.expand * c.dim), norm_eps_(c.norm_eps) {
  const int64_t H = shape_.heads, mixed = inner_ + 2 * shape_.key_dim;
  in_proj = register_module("in_proj", Linear(c.dim, inner_ + mixed + H));
  conv1d = register_module("conv1d", ShortConv1d(mixed, shape_.conv_width, /*with_bias=*/true));
  norm = register_module("norm", Norm(inner_));
  out_proj = register_module("out_proj", Linear(inner_, c.dim));
  A_log = register_parameter("A_log", torch::empty({H}));
  dt_bias = register_parameter("dt_bias", torch::empty({H}));
  D = register_parameter("D", torch::empty({H}));
}

torch::Tensor Mamba2::forward(const torch::Tensor& x, const MixerCall& call) {
  const int64_t H = shape_.heads, N = shape_.key_dim;
  const auto parts = in_proj->forward(x).split_with_sizes({inner_, inner_ + 2 * N, H}, -1);
  const auto &z = parts[0], &step_logits = parts[2];
  const auto mixed = convolve(parts[1], conv1d, 0, /*silu=*/true, call).split_with_sizes({inner_, N, N}, -1);
  const auto signal = heads(mixed[0]);
  const auto step = step_size(step_logits, dt_bias);  // [B, L, H]

  LinearRecurrenceInput in;
  in.q = repeat_for_heads(mixed[2], H);
  in.k = repeat_for_heads(mixed[1], H);
  in.v = (step.unsqueeze(-1) * signal).to(x.scalar_type());
  in.g = per_channel({.x = step, .weight = -A_log.exp()}, step.scalar_type());
  const auto o = per_channel({.x = mixed[0], .weight = D, .base = recur(in, call).flatten(2)}, x.scalar_type());
  return project(out_proj, rms_norm(swiglu(z, o), norm->weight, norm_eps_, x.scalar_type()), call);
}

int64_t Mamba2::saved_elements_per_token() const {
  // z, x before and after the convolution, step times x, o, gated and normed o, and the contiguous copies of the
  // projection's slices; B and C before and after the convolution; step and decay (fp32).
  return 10 * inner_ + 6 * shape_.key_dim + 5 * shape_.heads;
}

void Mamba2::initialise_weights(Initialiser& init) {
  init.projection(in_proj->weight);
  init.projection(out_proj->weight);
  initialise_convolution(init, conv1d);
  Initialiser::constant(norm->weight, 1);
  Initialiser::constant(D, 1);
  initialise_decay(init, A_log, dt_bias, 0, 16);
}

}  // namespace lt2
