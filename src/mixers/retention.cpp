#include "mixers/retention.h"

#include <cmath>

#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"

namespace lt2 {
namespace {

constexpr double kOutputNormEps = 1e-5;  // the official block never passes norm_eps here
constexpr double kRotaryBase = 10000;    // whatever the model's rope_theta

LinearMixerShape shape_of(const ModelConfig& c) {
  const int64_t H = *c.n_heads;
  return {.heads = H, .key_dim = c.dim / H, .value_dim = 2 * c.dim / H, .delta = false, .convolutions = {}};
}

}  // namespace

Retention::Retention(const ModelConfig& c) : LinearMixer(c, shape_of(c)) {
  const int64_t D = c.dim;
  q_proj = register_module("q_proj", Linear(D, D));
  k_proj = register_module("k_proj", Linear(D, D));
  v_proj = register_module("v_proj", Linear(D, 2 * D));
  g_proj = register_module("g_proj", Linear(D, 2 * D));
  o_proj = register_module("o_proj", Linear(2 * D, D));
  g_norm_swish_gate = register_module("g_norm_swish_gate", Norm(shape_.value_dim));
  auto decay = torch::empty({shape_.heads});
  for (int64_t h = 0; h < shape_.heads; ++h) decay[h] = std::log1p(-std::exp2(-5.0 - static_cast<double>(h)));
  log_decay_ = register_buffer("log_decay", decay);
}

torch::Tensor Retention::forward(const torch::Tensor& x, const MixerCall& call) {
  const auto rotate = [&](const torch::Tensor& t) {
    return each_sequence(call, {heads(t)}, [&](const std::vector<torch::Tensor>& rows, const MixerState* state) {
      return rope(rows[0], kRotaryBase, state ? state->position : 0, RopeLayout::kHalves, RopeAngles::kExact);
    });
  };
  const auto qkv = linear_all(x, {&q_proj, &k_proj, &v_proj});
  LinearRecurrenceInput in;
  in.q = rotate(qkv[0]);
  in.k = rotate(qkv[1]);
  in.v = heads(qkv[2]);
  in.g = log_decay_.expand({x.size(0), x.size(1), shape_.heads});
  in.scale = key_scale();
  const auto o = recur(in, call);
  const auto y = rms_norm_silu_gate(o, g_proj->forward(x), g_norm_swish_gate->weight, kOutputNormEps);
  return project(o_proj, y.flatten(2), call);
}

int64_t Retention::saved_elements_per_token() const {
  // q and k rotated; v, o, gate, gated o.
  return shape_.heads * (2 * shape_.key_dim + 4 * shape_.value_dim);
}

void Retention::initialise_weights(Initialiser& init) {
  for (auto* map : {&q_proj, &k_proj, &v_proj, &g_proj, &o_proj}) init.projection((*map)->weight);
  Initialiser::constant(g_norm_swish_gate->weight, 1);
}

}  // namespace lt2
