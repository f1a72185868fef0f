#include "model/layer.h"

#include <cmath>

#include "ops/fan_out/op.h"
#include "ops/rms_norm/op.h"

namespace lt2 {

FeedForwardImpl::FeedForwardImpl(int64_t dim, int64_t hidden) {
  w1 = register_module("w1", Linear(dim, hidden));
  w3 = register_module("w3", Linear(dim, hidden));
  w2 = register_module("w2", Linear(hidden, dim));
}

torch::Tensor FeedForwardImpl::forward_add(const torch::Tensor& x, const torch::Tensor& residual) {
  return w2->forward_add(linear_swiglu(x, w1, w3), residual);
}

torch::Tensor FeedForwardImpl::forward(const torch::Tensor& x) { return w2->forward(linear_swiglu(x, w1, w3)); }

LayerImpl::LayerImpl(const std::string& mixer_type, const ModelConfig& config)
    : type(mixer_type), eps_(config.norm_eps) {
  mixer = register_module("attention", make_mixer(mixer_type, config));
  feed_forward = register_module("feed_forward", FeedForward(config.dim, ffn_hidden_dim(config)));
  attention_norm = register_module("attention_norm", Norm(config.dim));
  ffn_norm = register_module("ffn_norm", Norm(config.dim));
  if (config.model_type != "ouro") return;
  attention_norm_2 = register_module("attention_norm_2", Norm(config.dim));
  ffn_norm_2 = register_module("ffn_norm_2", Norm(config.dim));
}

torch::Tensor LayerImpl::forward(const torch::Tensor& h, MixerCall call, torch::ScalarType compute,
                                 const Listeners& listeners) {
  const auto before = fan_out(h, 2);  // for the residual stream and for the norm
  const auto x = rms_norm(before[1], attention_norm->weight, eps_, compute);
  if (listeners.mixer_in) listeners.mixer_in(x);
  if (attention_norm_2) {
    const auto added = [&](const torch::Tensor& to, const torch::Tensor& part, const Norm& by) {
      return to + rms_norm(part, by->weight, eps_, to.scalar_type());
    };
    const auto mixed = mixer->forward(x, call);
    if (listeners.mixer_out) listeners.mixer_out(mixed);
    const auto middle = fan_out(added(before[0], mixed, attention_norm_2), 2);
    return added(middle[0], feed_forward->forward(rms_norm(middle[1], ffn_norm->weight, eps_, compute)), ffn_norm_2);
  }
  // The mixer itself adds to the residual stream. A listener gets what it adds in fp32, as it is added.
  call.residual = listeners.mixer_out ? torch::zeros_like(before[0]) : before[0];
  auto mixed = mixer->forward(x, call);
  if (listeners.mixer_out) {
    listeners.mixer_out(mixed);
    mixed = before[0] + mixed;
  }
  const auto middle = fan_out(mixed, 2);
  return feed_forward->forward_add(rms_norm(middle[1], ffn_norm->weight, eps_, compute), middle[0]);
}

void LayerImpl::initialise(Initialiser& init, const ModelConfig& config) {
  mixer->initialise(init);
  const double hidden_std = 1.0 / std::sqrt(static_cast<double>(ffn_hidden_dim(config)));
  // Official quirk: blocks of mixers other than `full` pass s = dim^-1/2 on, which then also scales w2.
  const double s2 = config.init_base_std ? *config.init_base_std : type == "full" ? hidden_std : init.base_std;
  init.projection(feed_forward->w1->weight);
  init.projection(feed_forward->w3->weight);
  init.truncated_normal(feed_forward->w2->weight, s2 / init.depth_factor, 3 * s2 / init.depth_factor);
  Initialiser::constant(attention_norm->weight, 1);
  for (auto* each : {&ffn_norm, &attention_norm_2, &ffn_norm_2}) {
    if (*each) Initialiser::constant((*each)->weight, 1);
  }
}

}  // namespace lt2
