#include "mixers/linear_mixer.h"

#include <cmath>

#include "ops/per_channel/op.h"
#include "ops/short_conv/op.h"

namespace lt2 {

LinearMixer::LinearMixer(const ModelConfig& config, LinearMixerShape shape) : shape_(std::move(shape)) {
  if (config.state_carry == "token") state_gate = register_parameter("state_gate", torch::empty({shape_.heads}));
}

torch::Tensor LinearMixer::heads(const torch::Tensor& x) const {
  return x.view({x.size(0), x.size(1), shape_.heads, x.size(2) / shape_.heads});
}

torch::Tensor LinearMixer::convolve(const torch::Tensor& x, const ShortConv1d& conv, size_t i, bool silu,
                                    const MixerCall& call) const {
  return each_sequence(call, {x}, [&](const std::vector<torch::Tensor>& rows, MixerState* of) {
    ShortConvInput in{.x = rows[0], .weight = conv->weight, .bias = conv->bias, .tail = {}, .silu = silu};
    auto* state = static_cast<LinearState*>(of);
    if (state) in.tail = state->tails[i];
    const auto own = short_conv(in);
    if (state) state->advance_tail(i, rows[0], short_conv_next_tail(in));
    return own;
  });
}

double LinearMixer::key_scale() const { return 1.0 / std::sqrt(static_cast<double>(shape_.key_dim)); }

torch::Tensor LinearMixer::recur(const LinearRecurrenceInput& all, const MixerCall& call) const {
  LoopCarry* carry = state_gate.defined() ? call.carry : nullptr;
  LoopCarry next{.k = all.k, .v = all.v, .g = all.g, .beta = all.beta, .states = {}};
  int64_t begin = 0;
  const auto o = each_sequence(call, {all.q}, [&](const std::vector<torch::Tensor>& q, MixerState* of) {
    auto* state = static_cast<LinearState*>(of);
    const int64_t count = q[0].size(1);
    const bool in_place = state && !torch::GradMode::is_enabled();
    auto in = part_of(all, begin, count);
    torch::Tensor before;  // the state before these tokens, for the next loop
    if (state) {
      in.state = state->S;
      in.position = state->position;
      in.inplace_state = in_place;
      if (carry) before = in_place ? state->set_aside() : state->S;
    }
    const auto out = linear_recurrence(in);
    auto own = out.o;
    if (carry && carry->k.defined()) {
      auto previous =
          part_of({.q = all.q, .k = carry->k, .v = carry->v, .g = carry->g, .beta = carry->beta}, begin, count);
      previous.scale = in.scale;
      previous.position = in.position;
      if (next.states.size() < carry->states.size()) previous.state = carry->states[next.states.size()];
      previous.inplace_state = in_place && previous.state.defined();  // this loop is its last reader
      const auto read = linear_recurrence(previous).o;
      own = per_channel({.x = read.flatten(2), .weight = state_gate, .base = own.flatten(2)}, own.scalar_type())
                .view(own.sizes());
    }
    next.states.push_back(before);
    if (state) state->advance(in, out.state.detach());
    begin += count;
    return own;
  });
  if (carry) *carry = std::move(next);
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
  // Every element decays: it is read and written. With a state carried across loops, the matrices are copied first and
  // the recurrence runs once more on them.
  const int64_t matrices = shape_.heads * shape_.key_dim * shape_.value_dim * 4;
  return 2 * state_bytes(tokens, window, dtype) + (state_gate.defined() ? 4 * matrices : 0);
}

double LinearMixer::flops_per_token(int64_t, std::optional<int64_t>) const {
  double products = extra_products();
  for (const auto& [name, parameter] : parameters_of(*this)) {
    if (parameter.dim() >= 2) products += static_cast<double>(parameter.numel());
  }
  // One pass each for write and read, and one for the delta rule's read before the write.
  const double passes = (shape_.delta ? 3 : 2) * (state_gate.defined() ? 2 : 1);
  return 2 * (products + passes * static_cast<double>(shape_.heads * shape_.key_dim * shape_.value_dim));
}

void LinearMixer::initialise(Initialiser& init) {
  initialise_weights(init);
  if (state_gate.defined()) Initialiser::constant(state_gate, 0);
}

}  // namespace lt2
