#include "mixers/native_sparse_attention.h"

#include <algorithm>
#include <cmath>

#include "mixers/parts.h"
#include "ops/block_selection/op.h"
#include "ops/causal_attention/op.h"
#include "ops/gates/op.h"
#include "ops/rope/op.h"
#include "ops/selected_attention/op.h"

namespace lt2 {
namespace {

torch::Tensor biased(Linear& map, const torch::Tensor& x) {
  auto* with_bias = dynamic_cast<BiasedLinearImpl*>(map.get());
  return with_bias ? with_bias->forward(x) : map->forward(x);
}

}  // namespace

NativeSparseAttention::NativeSparseAttention(const ModelConfig& c)
    : dim_(c.dim),
      heads_(*c.n_heads),
      kv_heads_(*c.n_kv_heads),
      head_dim_(*c.head_dim),
      block_size_(c.nsa.block_size),
      block_counts_(c.nsa.block_counts),
      window_(c.nsa.window_size),
      rope_theta_(c.rope_theta) {
  const auto projection = [&](const char* name, int64_t out) {
    if (!c.nsa.qkv_bias) return register_module(name, Linear(dim_, out));
    return register_module(name, Linear(std::shared_ptr<LinearImpl>(std::make_shared<BiasedLinearImpl>(dim_, out))));
  };
  q_proj = projection("q_proj", heads_ * head_dim_);
  k_proj = projection("k_proj", kv_heads_ * head_dim_);
  v_proj = projection("v_proj", kv_heads_ * head_dim_);
  g_proj = register_module("g_proj", Linear(dim_, 3 * heads_));
  o_proj = register_module("o_proj", Linear(heads_ * head_dim_, dim_));
}

std::vector<torch::Tensor> NativeSparseAttention::project(const torch::Tensor& x) {
  const int64_t B = x.size(0), L = x.size(1);
  return {biased(q_proj, x).view({B, L, heads_, head_dim_}), biased(k_proj, x).view({B, L, kv_heads_, head_dim_}),
          biased(v_proj, x).view({B, L, kv_heads_, head_dim_})};
}

NativeSparseAttention::Branches NativeSparseAttention::branches(const torch::Tensor& x) {
  return attend(project(x), nullptr);
}

NativeSparseAttention::Branches NativeSparseAttention::attend(const std::vector<torch::Tensor>& qkv, NsaState* state) {
  const int64_t position = state ? state->position : 0;
  const auto rotate = [&](const torch::Tensor& t) { return rope(t, rope_theta_, position, RopeLayout::kHalves); };
  const auto q = rotate(qkv[0]), k = rotate(qkv[1]), v = qkv[2];
  const auto seen =
      state ? state->append(k, v) : NsaState::Seen{k, v, block_means(k, block_size_), block_means(v, block_size_)};
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim_));

  const auto chosen = block_selection({.q = q,
                                       .k_mean = seen.k_mean,
                                       .v_mean = seen.v_mean,
                                       .first_position = position,
                                       .block_size = block_size_,
                                       .count = block_counts_,
                                       .scale = scale});
  Branches out{.compressed = chosen.o, .selected = {}, .windowed = {}, .blocks = chosen.blocks};
  out.selected = selected_attention(
      {.q = q, .k = seen.k, .v = seen.v, .blocks = chosen.blocks, .block_size = block_size_, .scale = scale});
  if (window_ > 0) {
    out.windowed =
        causal_attention({.q = q, .k = seen.k, .v = seen.v, .window = window_, .scale = scale, .first_position = 0});
  }
  return out;
}

torch::Tensor NativeSparseAttention::forward(const torch::Tensor& x, const MixerCall& call) {
  const int64_t B = x.size(0), L = x.size(1);
  auto rows = project(x);
  rows.push_back(write_strength(g_proj->forward(x), 1.0).view({B, L, heads_, 3, 1}));  // sigmoid, fp32
  const auto mix = [&](const std::vector<torch::Tensor>& own, MixerState* state) {
    const auto parts = attend(own, static_cast<NsaState*>(state));
    const auto& gates = own[3];
    auto o = gates.select(3, 0) * parts.compressed + gates.select(3, 1) * parts.selected;
    if (parts.windowed.defined()) o = o + gates.select(3, 2) * parts.windowed;
    return o.to(x.scalar_type());
  };
  const auto o = each_sequence(call, rows, mix).view({B, L, heads_ * head_dim_});
  return call.residual.defined() ? o_proj->forward_add(o, call.residual) : o_proj->forward(o);
}

std::unique_ptr<MixerState> NativeSparseAttention::make_state(const StateOptions& options) const {
  return std::make_unique<NsaState>(options, kv_heads_, head_dim_, block_size_);
}

int64_t NativeSparseAttention::state_bytes(int64_t tokens, std::optional<int64_t>, torch::ScalarType dtype) const {
  const int64_t width = kv_heads_ * head_dim_;
  return KvState::bytes_after(tokens, std::nullopt, width, dtype) + 2 * (tokens / block_size_ + 1) * width * 4;
}

int64_t NativeSparseAttention::state_traffic_bytes(int64_t tokens, std::optional<int64_t>,
                                                   torch::ScalarType dtype) const {
  const int64_t width = kv_heads_ * head_dim_;
  const auto rows = [&](int64_t count) {
    return KvState::bytes_after(std::min(tokens, count), std::nullopt, width, dtype);
  };
  // All means, the incomplete block's sums (read and written), the chosen blocks, the window.
  return 2 * (tokens / block_size_ + 2) * width * 4 + rows(block_counts_ * block_size_) + rows(window_);
}

double NativeSparseAttention::flops_per_token(int64_t context, std::optional<int64_t>) const {
  const double inner = static_cast<double>(heads_ * head_dim_), kv = static_cast<double>(kv_heads_ * head_dim_);
  const double keys = static_cast<double>(context / block_size_ + std::min(block_counts_ * block_size_, context) +
                                          std::min(window_, context));
  return 2 * (static_cast<double>(dim_) * (2 * inner + 2 * kv + 3 * static_cast<double>(heads_)) + 2 * inner * keys);
}

int64_t NativeSparseAttention::saved_elements_per_token() const {
  // Rotated q, three branches and their mix in fp32 and in the type of the products; rotated k and v; gates in fp32.
  return heads_ * head_dim_ * 7 + 2 * kv_heads_ * head_dim_ + 6 * heads_;
}

void NativeSparseAttention::initialise(Initialiser& init) {
  for (auto* map : {&q_proj, &k_proj, &v_proj, &g_proj, &o_proj}) init.projection((*map)->weight);
  for (auto* map : {&q_proj, &k_proj, &v_proj}) {
    if (auto* biased = dynamic_cast<BiasedLinearImpl*>(map->get())) Initialiser::constant(biased->bias, 0);
  }
}

}  // namespace lt2
