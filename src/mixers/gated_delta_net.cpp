#include "mixers/gated_delta_net.h"

#include <cmath>

#include "ops/decay_gate/op.h"
#include "ops/linear_recurrence/op.h"
#include "ops/rms_norm/op.h"
#include "ops/short_conv/op.h"

namespace lt2 {
namespace {

constexpr int64_t kConvWidth = 4;
constexpr double kOutputNormEps = 1e-5;  // the official block never passes norm_eps here

}  // namespace

GatedDeltaNet::GatedDeltaNet(const ModelConfig& c)
    : dim_(c.dim),
      heads_(*c.n_heads),
      key_dim_(c.gdn_head_dim ? *c.gdn_head_dim : static_cast<int64_t>(0.75 * static_cast<double>(c.dim)) / *c.n_heads),
      value_dim_(static_cast<int64_t>((c.gdn_expand_v ? *c.gdn_expand_v : 2.0) * static_cast<double>(key_dim_))),
      allow_neg_eigval_(c.gdn_allow_neg_eigval) {
  const int64_t K = heads_ * key_dim_, V = heads_ * value_dim_;
  q_proj = register_module("q_proj", Linear(dim_, K));
  k_proj = register_module("k_proj", Linear(dim_, K));
  v_proj = register_module("v_proj", Linear(dim_, V));
  a_proj = register_module("a_proj", Linear(dim_, heads_));
  b_proj = register_module("b_proj", Linear(dim_, heads_));
  g_proj = register_module("g_proj", Linear(dim_, V));
  o_proj = register_module("o_proj", Linear(V, dim_));
  q_conv1d = register_module("q_conv1d", ShortConv1d(K, kConvWidth));
  k_conv1d = register_module("k_conv1d", ShortConv1d(K, kConvWidth));
  v_conv1d = register_module("v_conv1d", ShortConv1d(V, kConvWidth));
  o_norm = register_module("o_norm", Norm(value_dim_));
  A_log = register_parameter("A_log", torch::empty({heads_}));
  dt_bias = register_parameter("dt_bias", torch::empty({heads_}));
}

torch::Tensor GatedDeltaNet::forward(const torch::Tensor& x, const MixerCall& call) {
  const int64_t B = x.size(0), L = x.size(1);
  auto* state = static_cast<LinearState*>(call.state);

  // Convolution i over its projection; with a state it continues from tail i and replaces it.
  const auto convolve = [&](Linear& projection, ShortConv1d& conv, size_t i) {
    ShortConvInput in{.x = projection->forward(x), .weight = conv->weight, .bias = {}, .tail = {}, .silu = true};
    if (!state) return short_conv(in);
    in.tail = state->tails[i];
    const auto y = short_conv(in);
    state->tails[i] = short_conv_next_tail(in);
    return y;
  };
  const auto q = l2_norm(convolve(q_proj, q_conv1d, 0).view({B, L, heads_, key_dim_}));
  const auto k = l2_norm(convolve(k_proj, k_conv1d, 1).view({B, L, heads_, key_dim_}));
  const auto v = convolve(v_proj, v_conv1d, 2).view({B, L, heads_, value_dim_});

  const auto g = log_decay(a_proj->forward(x), A_log, dt_bias);
  const auto beta = write_strength(b_proj->forward(x), allow_neg_eigval_ ? 2.0 : 1.0);

  LinearRecurrenceInput in{.q = q,
                           .k = k,
                           .v = v,
                           .g = g,
                           .beta = beta,
                           .state = {},
                           .scale = 1.0 / std::sqrt(static_cast<double>(key_dim_))};
  if (state) {
    in.state = state->S;
    in.position = state->position;
    in.inplace_state = !torch::GradMode::is_enabled();
  }
  const auto out = linear_recurrence(in);
  if (state) {
    state->S = out.state.detach();
    state->position += L;
  }
  const auto y = rms_norm_silu_gate(out.o, g_proj->forward(x), o_norm->weight, kOutputNormEps)
                     .reshape({B, L, heads_ * value_dim_});
  return call.residual.defined() ? o_proj->forward_add(y, call.residual) : o_proj->forward(y);
}

std::unique_ptr<MixerState> GatedDeltaNet::make_state(const StateOptions& options) const {
  return std::make_unique<LinearState>(
      options, heads_, key_dim_, value_dim_,
      std::vector<std::pair<std::string, int64_t>>{
          {"q_conv1d", heads_ * key_dim_}, {"k_conv1d", heads_ * key_dim_}, {"v_conv1d", heads_ * value_dim_}},
      kConvWidth - 1);
}

int64_t GatedDeltaNet::state_bytes(int64_t, std::optional<int64_t>, torch::ScalarType dtype) const {
  const int64_t channels = heads_ * (2 * key_dim_ + value_dim_);
  return heads_ * key_dim_ * value_dim_ * 4 +
         (kConvWidth - 1) * channels * static_cast<int64_t>(c10::elementSize(dtype));
}

int64_t GatedDeltaNet::state_traffic_bytes(int64_t tokens, std::optional<int64_t> window,
                                           torch::ScalarType dtype) const {
  return 2 * state_bytes(tokens, window, dtype);  // every element fades: read and written
}

double GatedDeltaNet::flops_per_token(int64_t, std::optional<int64_t>) const {
  const double H = static_cast<double>(heads_), K = static_cast<double>(key_dim_), V = static_cast<double>(value_dim_);
  const double projections = dim_ * (2 * H * K + 3 * H * V + 2 * H), conv = kConvWidth * H * (2 * K + V);
  return 2 * (projections + conv + 3 * H * K * V);
}

int64_t GatedDeltaNet::saved_elements_per_token() const {
  // q and k before and behind convolution and norm; v before and behind the convolution, o, gate, gated o; decay and
  // write strength.
  return heads_ * (2 * 3 * key_dim_ + 5 * value_dim_ + 4);
}

void GatedDeltaNet::initialise(Initialiser& init) {
  for (auto* map : {&q_proj, &k_proj, &v_proj, &a_proj, &b_proj, &g_proj, &o_proj}) init.projection((*map)->weight);
  // The framework's default for a depthwise convolution: uniform in +-1/sqrt(width).
  const double bound = 1.0 / std::sqrt(static_cast<double>(kConvWidth));
  for (auto* conv : {&q_conv1d, &k_conv1d, &v_conv1d}) init.uniform((*conv)->weight, -bound, bound);
  Initialiser::constant(o_norm->weight, 1);
  torch::NoGradGuard no_grad;
  init.uniform(A_log, 1e-6, 16);  // above zero, or the log is -inf
  A_log.log_();
  // dt_bias such that softplus(dt_bias) is log-uniform in [0.001, 0.1].
  init.uniform(dt_bias, std::log(0.001), std::log(0.1));
  const auto delta = dt_bias.exp().clamp_min(1e-4);
  dt_bias.copy_(delta + (-torch::expm1(-delta)).log());
}

}  // namespace lt2
