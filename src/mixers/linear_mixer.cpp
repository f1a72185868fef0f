#include "mixers/linear_mixer.h"

#include <cmath>

#include "ops/gates/op.h"
#include "ops/short_conv/op.h"

namespace lt2 {
namespace {

// The width whose kernel has its own SiLU; other widths run in torch, whose SiLU depends on an element's place.
constexpr int64_t kKernelWidth = 4;

}  // namespace

LinearMixer::LinearMixer(const ModelConfig& config, LinearMixerShape shape) : shape_(std::move(shape)) {
  if (config.state_carry == "token") state_gate = register_parameter("state_gate", torch::empty({shape_.heads}));
}

torch::Tensor LinearMixer::heads(const torch::Tensor& x) const {
  return x.view({x.size(0), x.size(1), shape_.heads, x.size(2) / shape_.heads});
}

torch::Tensor LinearMixer::convolve(const torch::Tensor& x, const ShortConv1d& conv, size_t i, bool silu,
                                    const MixerCall& call) const {
  const bool fused = silu && shape_.conv_width == kKernelWidth;
  ShortConvInput in{.x = x, .weight = conv->weight, .bias = conv->bias, .tail = {}, .silu = fused};
  auto* state = static_cast<LinearState*>(call.state);
  if (state) in.tail = state->tails[i];
  const auto y = short_conv(in);
  if (state) state->tails[i] = short_conv_next_tail(in);
  return silu && !fused ? swish(y) : y;
}

double LinearMixer::key_scale() const { return 1.0 / std::sqrt(static_cast<double>(shape_.key_dim)); }

torch::Tensor LinearMixer::recur(LinearRecurrenceInput in, const MixerCall& call) const {
  auto* state = static_cast<LinearState*>(call.state);
  LoopCarry* carry = state_gate.defined() ? call.carry : nullptr;
  const bool in_place = state && !torch::GradMode::is_enabled();
  torch::Tensor before;  // the state before these tokens, for the next loop
  if (state) {
    in.state = state->S;
    in.position = state->position;
    in.inplace_state = in_place;
    if (carry) before = in_place ? state->set_aside() : state->S;
  }
  const auto out = linear_recurrence(in);
  auto o = out.o;
  if (carry) {
    if (carry->k.defined()) {
      auto previous = in;
      previous.k = carry->k;
      previous.v = carry->v;
      previous.g = carry->g;
      previous.beta = carry->beta;
      previous.state = carry->state;
      previous.inplace_state = in_place && carry->state.defined();  // nobody reads it after this loop
      const auto read = linear_recurrence(previous).o;
      o = (o + state_gate.view({-1, 1}) * read).to(o.scalar_type());
    }
    *carry = {.k = in.k, .v = in.v, .g = in.g, .beta = in.beta, .state = before};
  }
  if (state) {
    state->S = out.state.detach();
    state->position += in.q.size(1);
  }
  return o;
}

torch::Tensor LinearMixer::project(Linear& output, const torch::Tensor& y, const MixerCall& call) {
  return call.residual.defined() ? output->forward_add(y, call.residual) : output->forward(y);
}

std::unique_ptr<MixerState> LinearMixer::make_state(const StateOptions& options) const {
  return std::make_unique<LinearState>(options, shape_.heads, shape_.key_dim, shape_.value_dim, shape_.convolutions,
                                       shape_.conv_width - 1);
}

int64_t LinearMixer::state_bytes(int64_t, std::optional<int64_t>, torch::ScalarType dtype) const {
  int64_t channels = 0;
  for (const auto& [name, width] : shape_.convolutions) channels += width;
  return shape_.heads * shape_.key_dim * shape_.value_dim * 4 +
         (shape_.conv_width - 1) * channels * static_cast<int64_t>(c10::elementSize(dtype));
}

int64_t LinearMixer::state_traffic_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const {
  // Every element fades: read and written. Carried across loops the matrices are set aside before and run once more.
  const int64_t matrices = shape_.heads * shape_.key_dim * shape_.value_dim * 4;
  return 2 * state_bytes(tokens, window, dtype) + (state_gate.defined() ? 4 * matrices : 0);
}

double LinearMixer::flops_per_token(int64_t, std::optional<int64_t>) const {
  double products = extra_products();
  for (const auto& [name, parameter] : parameters_of(*this)) {
    if (parameter.dim() >= 2) products += static_cast<double>(parameter.numel());
  }
  // Write and read, and the delta write's recall before them.
  const double passes = (shape_.delta ? 3 : 2) * (state_gate.defined() ? 2 : 1);
  return 2 * (products + passes * static_cast<double>(shape_.heads * shape_.key_dim * shape_.value_dim));
}

void LinearMixer::initialise(Initialiser& init) {
  initialise_weights(init);
  if (state_gate.defined()) Initialiser::constant(state_gate, 0);
}

}  // namespace lt2
