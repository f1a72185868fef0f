#include "mixers/full_attention.h"

#include <algorithm>
#include <cmath>

#include "ops/causal_attention/op.h"
#include "ops/swiglu/op.h"

namespace lt2 {

FullAttention::FullAttention(const ModelConfig& c)
    : dim_(c.dim),
      heads_(*c.n_heads),
      kv_heads_(*c.n_kv_heads),
      head_dim_(*c.head_dim),
      rope_theta_(c.rope_theta),
      rope_layout_(c.model_type == "ouro" ? RopeLayout::kHalves : RopeLayout::kPairs) {
  wq = register_module("wq", Linear(dim_, heads_ * head_dim_));
  wk = register_module("wk", Linear(dim_, kv_heads_ * head_dim_));
  wv = register_module("wv", Linear(dim_, kv_heads_ * head_dim_));
  wo = register_module("wo", Linear(heads_ * head_dim_, dim_));
  if (c.use_attn_gate) w_gate = register_module("w_gate", Linear(dim_, heads_ * head_dim_));
}

torch::Tensor FullAttention::forward(const torch::Tensor& x, const MixerCall& call) {
  const int64_t B = x.size(0), L = x.size(1);
  std::vector<Linear*> maps{&wq, &wk, &wv};
  if (w_gate) maps.push_back(&w_gate);
  const auto products = linear_all(x, maps);
  const auto q = products[0].view({B, L, heads_, head_dim_});
  const auto k = products[1].view({B, L, kv_heads_, head_dim_});
  const auto v = products[2].view({B, L, kv_heads_, head_dim_});
  const auto attend = [&](const std::vector<torch::Tensor>& qkv, MixerState* of) {
    auto* state = static_cast<KvState*>(of);
    const int64_t position = state ? state->position : 0;
    CausalAttentionInput in{.q = rope(qkv[0], rope_theta_, position, rope_layout_),
                            .k = rope(qkv[1], rope_theta_, position, rope_layout_),
                            .v = qkv[2],
                            .window = call.window,
                            .scale = 1.0 / std::sqrt(static_cast<double>(head_dim_)),
                            .first_position = position};
    if (state) {
      const auto keys = state->append(in.k, in.v);
      in.k = keys.k;
      in.v = keys.v;
      in.first_position = keys.first_position;
    }
    return causal_attention(in);
  };
  auto o = each_sequence(call, {q, k, v}, attend).reshape({B, L, heads_ * head_dim_});
  if (w_gate) o = sigmoid_gate(o, products[3]);
  return call.residual.defined() ? wo->forward_add(o, call.residual) : wo->forward(o);
}

std::unique_ptr<MixerState> FullAttention::make_state(const StateOptions& options) const {
  return std::make_unique<KvState>(options, kv_heads_, head_dim_);
}

int64_t FullAttention::state_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const {
  return KvState::bytes_after(tokens, window, kv_heads_ * head_dim_, dtype);
}

int64_t FullAttention::allocated_bytes(int64_t tokens, std::optional<int64_t> window, torch::ScalarType dtype) const {
  return 2 * TokenRows::allocated_after(tokens, window) * kv_heads_ * head_dim_ *
         static_cast<int64_t>(c10::elementSize(dtype));
}

int64_t FullAttention::state_traffic_bytes(int64_t tokens, std::optional<int64_t> window,
                                           torch::ScalarType dtype) const {
  return state_bytes(tokens, window, dtype);  // all of it is read, one row is written
}

double FullAttention::flops_per_token(int64_t context, std::optional<int64_t> window) const {
  const double inner = static_cast<double>(heads_ * head_dim_), kv = static_cast<double>(kv_heads_ * head_dim_);
  const double keys = static_cast<double>(window ? std::min(*window, context) : context);
  return 2 * (dim_ * (inner * (w_gate ? 3 : 2) + 2 * kv) + 2 * inner * keys);
}

int64_t FullAttention::saved_elements_per_token() const {
  // Rotated q, o, gate logits and gated o; rotated k and v.
  return heads_ * head_dim_ * (w_gate ? 4 : 2) + 2 * kv_heads_ * head_dim_;
}

void FullAttention::initialise(Initialiser& init) {
  for (auto* map : {&wq, &wk, &wv}) init.projection((*map)->weight);
  // Official quirk: the depth factor divides the std of wo, not its truncation limit.
  init.truncated_normal(wo->weight, init.base_std / init.depth_factor, 3 * init.base_std);
  if (w_gate) Initialiser::constant(w_gate->weight, 0);
}

}  // namespace lt2
