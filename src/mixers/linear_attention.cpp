#include "mixers/linear_attention.h"

#include <cmath>

#include "ops/per_channel/op.h"
#include "ops/rms_norm/op.h"

namespace lt2 {
namespace {

constexpr double kOutputNormEps = 1e-5;  // default of the reference layer

LinearMixerShape shape_of(const ModelConfig& c) {
  const int64_t H = *c.n_heads;
  return {.heads = H, .key_dim = c.dim / H, .value_dim = c.dim / H, .delta = false, .convolutions = {}};
}

}  // namespace

FeatureMapImpl::FeatureMapImpl(int64_t key_dim) {
  layer1 = register_module("layer1", BiasedLinear(key_dim, key_dim));
  layer2 = register_module("layer2", BiasedLinear(key_dim, key_dim));
}

torch::Tensor FeatureMapImpl::forward(const torch::Tensor& a) {
  // fp32 biases make the sums fp32; one rounding returns them to the type of `a`.
  const auto affine = [&](BiasedLinear& layer) {
    return per_channel({.x = layer->LinearImpl::forward(a), .bias = layer->bias}, layer->bias.scalar_type());
  };
  return (affine(layer1) * affine(layer2)).to(a.scalar_type());
}

void FeatureMapImpl::initialise(Initialiser& init) {
  for (auto* layer : {&layer1, &layer2}) {
    const double bound = 1.0 / std::sqrt(static_cast<double>((*layer)->weight.size(1)));
    init.uniform((*layer)->weight, -bound, bound);
    init.uniform((*layer)->bias, -bound, bound);
  }
}

LinearAttention::LinearAttention(const ModelConfig& c) : LinearMixer(c, shape_of(c)) {
  const int64_t D = c.dim;
  q_proj = register_module("q_proj", Linear(D, D));
  k_proj = register_module("k_proj", Linear(D, D));
  v_proj = register_module("v_proj", Linear(D, D));
  o_proj = register_module("o_proj", Linear(D, D));
  feature_map_q = register_module("feature_map_q", FeatureMap(shape_.key_dim));
  feature_map_k = register_module("feature_map_k", FeatureMap(shape_.key_dim));
  norm = register_module("norm", Norm(shape_.value_dim));
}

torch::Tensor LinearAttention::forward(const torch::Tensor& x, const MixerCall& call) {
  const auto qkv = linear_all(x, {&q_proj, &k_proj, &v_proj});
  LinearRecurrenceInput in;
  in.q = feature_map_q->forward(heads(qkv[0]));
  in.k = feature_map_k->forward(heads(qkv[1]));
  in.v = heads(qkv[2]);
  in.scale = key_scale();
  const auto o = recur(in, call);
  return project(o_proj, rms_norm(o, norm->weight, kOutputNormEps, o.scalar_type()).flatten(2), call);
}

double LinearAttention::extra_products() const {
  // Every head uses the four [K, K] linear layers; the parameters count them once.
  return 4.0 * static_cast<double>((shape_.heads - 1) * shape_.key_dim * shape_.key_dim);
}

int64_t LinearAttention::saved_elements_per_token() const {
  // q and k before the map, the sums of both layers (fp32) and their product; v, o, normed o.
  return shape_.heads * (2 * 6 * shape_.key_dim + 3 * shape_.value_dim);
}

void LinearAttention::initialise_weights(Initialiser& init) {
  for (auto* map : {&q_proj, &k_proj, &v_proj, &o_proj}) init.projection((*map)->weight);
  feature_map_q->initialise(init);
  feature_map_k->initialise(init);
  Initialiser::constant(norm->weight, 1);
}

}  // namespace lt2
