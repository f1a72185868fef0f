#include "mixers/deepseek_sparse_attention.h"

#include <algorithm>
#include <cmath>

#include "ops/index_loss/op.h"
#include "ops/per_channel/op.h"
#include "ops/rope/op.h"
#include "ops/selected_attention/op.h"

namespace lt2 {
namespace {

constexpr double kIndexNormEps = 1e-6;

}  // namespace

LayerNormImpl::LayerNormImpl(int64_t width) {
  weight = register_parameter("weight", torch::empty({width}));
  bias = register_parameter("bias", torch::empty({width}));
}

torch::Tensor LayerNormImpl::forward(const torch::Tensor& x) {
  // torch's layer norm works row by row: a row's bits depend on nothing else. Its gradients of weight and bias do.
  const auto normed = torch::layer_norm(x.to(weight.scalar_type()), weight.sizes(), {}, {}, kIndexNormEps);
  return per_channel({.x = normed, .weight = weight, .bias = bias}, x.scalar_type());
}

LightningIndexerImpl::LightningIndexerImpl(const ModelConfig& c)
    : heads_(c.dsa.index_n_heads),
      head_dim_(c.dsa.index_head_dim),
      rope_dim_(c.dsa.index_rope_dim),
      rope_theta_(c.rope_theta) {
  wq = register_module("wq", Linear(c.dim, heads_ * head_dim_));
  wk = register_module("wk", Linear(c.dim, head_dim_));
  k_norm = register_module("k_norm", LayerNorm(head_dim_));
  weights_proj = register_module("weights_proj", Linear(c.dim, heads_));
}

torch::Tensor LightningIndexerImpl::rotate(const torch::Tensor& x, int64_t position) const {
  if (rope_dim_ == 0) return x;
  const auto rotated = rope(x.narrow(3, 0, rope_dim_), rope_theta_, position, RopeLayout::kHalves);
  return rope_dim_ == head_dim_ ? rotated : torch::cat({rotated, x.narrow(3, rope_dim_, head_dim_ - rope_dim_)}, 3);
}

IndexTopkInput LightningIndexerImpl::forward(const torch::Tensor& input, int64_t position) {
  const auto x = input.detach();  // the indexer learns only from its own loss, which trains nothing else
  const int64_t B = x.size(0), L = x.size(1);
  const double scale = 1.0 / std::sqrt(static_cast<double>(heads_ * head_dim_));
  return {.q = rotate(wq->forward(x).view({B, L, heads_, head_dim_}), position),
          .k = rotate(k_norm->forward(wk->forward(x)).view({B, L, 1, head_dim_}), position).squeeze(2),
          .weights = weights_proj->forward(x).to(torch::kFloat32) * scale};
}

void LightningIndexerImpl::initialise(Initialiser& init) {
  for (auto* map : {&wq, &wk, &weights_proj}) init.projection((*map)->weight);
  Initialiser::constant(k_norm->weight, 1);
  Initialiser::constant(k_norm->bias, 0);
}

DeepseekSparseAttention::DeepseekSparseAttention(const ModelConfig& c)
    : dim_(c.dim),
      heads_(*c.n_heads),
      value_dim_(c.dsa.dim),
      kv_dim_(c.dsa.dim + c.dsa.tail_dim),
      topk_(c.dsa.topk),
      scale_(c.dsa.sm_scale.value_or(1.0 / std::sqrt(static_cast<double>(c.dsa.dim + c.dsa.tail_dim)))),
      dense_loss_(c.dsa.kl_stage == "dense") {
  const bool lightning = c.dsa.lightning();
  index_heads_ = lightning ? c.dsa.index_n_heads : heads_;
  index_dim_ = lightning ? c.dsa.index_head_dim : c.dsa.score_dim;
  q_proj = register_module("q_proj", Linear(dim_, heads_ * kv_dim_));
  kv_proj = register_module("kv_proj", Linear(dim_, kv_dim_));
  o_proj = register_module("o_proj", Linear(heads_ * value_dim_, dim_));
  if (lightning) {
    indexer = register_module("indexer", LightningIndexer(c));
  } else {
    q_score_proj = register_module("q_score_proj", Linear(dim_, heads_ * index_dim_));
    k_score_proj = register_module("k_score_proj", Linear(dim_, index_dim_));
  }
}

IndexTopkInput DeepseekSparseAttention::index_input(const torch::Tensor& x, int64_t position) {
  IndexTopkInput in;
  if (indexer) {
    in = indexer->forward(x, position);
  } else {
    torch::NoGradGuard no_grad;  // the scores serve only the selection
    in.q = q_score_proj->forward(x).view({x.size(0), x.size(1), heads_, index_dim_});
    in.k = k_score_proj->forward(x);
  }
  in.count = topk_;
  return in;
}

torch::Tensor DeepseekSparseAttention::forward(const torch::Tensor& x, const MixerCall& call) {
  const int64_t B = x.size(0), L = x.size(1);
  const auto q = q_proj->forward(x).view({B, L, heads_, kv_dim_});
  const auto own = [&](const std::vector<torch::Tensor>& rows, MixerState* state) {
    return attend(rows[0], rows[1], rows[2], static_cast<DsaState*>(state), call.losses);
  };
  const auto o = each_sequence(call, {x, q, kv_proj->forward(x)}, own).reshape({B, L, heads_ * value_dim_});
  return call.residual.defined() ? o_proj->forward_add(o, call.residual) : o_proj->forward(o);
}

torch::Tensor DeepseekSparseAttention::attend(const torch::Tensor& x, const torch::Tensor& q, torch::Tensor kv,
                                              DsaState* state, std::vector<torch::Tensor>* losses) {
  const bool with_loss = indexer && losses && !state;
  auto index = [&] {
    torch::AutoGradMode only_for_the_loss(with_loss && torch::GradMode::is_enabled());
    return index_input(x, state ? state->position : 0);
  }();
  if (state) {
    state->position += kv.size(1);
    kv = state->kv.append(kv);
    index.k = state->index.append(index.k);
  }
  const auto indices = index_topk(index);
  const auto k = kv.unsqueeze(2);  // [B, S, 1, E]
  const SelectedAttentionInput attention{.q = q,
                                         .k = k,
                                         .v = k.narrow(3, 0, value_dim_),
                                         .blocks = indices.unsqueeze(2),
                                         .block_size = 1,
                                         .scale = scale_};
  if (with_loss) {
    IndexLossInput loss{.index = index, .scale = scale_};
    if (dense_loss_) {
      loss.queries = q;
      loss.keys = kv;
    } else {
      torch::NoGradGuard no_grad;
      loss.indices = indices;
      loss.probabilities = selected_attention_mean_probabilities(attention).squeeze(2);
    }
    losses->push_back(index_loss(loss));
  }
  return selected_attention(attention);
}

std::unique_ptr<MixerState> DeepseekSparseAttention::make_state(const StateOptions& options) const {
  return std::make_unique<DsaState>(options, kv_dim_, index_dim_);
}

int64_t DeepseekSparseAttention::state_bytes(int64_t tokens, std::optional<int64_t>, torch::ScalarType dtype) const {
  return tokens * (kv_dim_ + index_dim_) * static_cast<int64_t>(c10::elementSize(dtype));
}

int64_t DeepseekSparseAttention::state_traffic_bytes(int64_t tokens, std::optional<int64_t>,
                                                     torch::ScalarType dtype) const {
  const int64_t scored = tokens > topk_ ? tokens : 0;  // no key is scored while all are chosen
  return (std::min(topk_, tokens) * kv_dim_ + scored * index_dim_) * static_cast<int64_t>(c10::elementSize(dtype));
}

double DeepseekSparseAttention::flops_per_token(int64_t context, std::optional<int64_t>) const {
  const double H = static_cast<double>(heads_), D = static_cast<double>(dim_), E = static_cast<double>(kv_dim_),
               V = static_cast<double>(value_dim_), J = static_cast<double>(index_heads_),
               F = static_cast<double>(index_dim_);
  const double projections = D * (H * E + E + H * V + J * F + F + (indexer ? J : 0));
  const double scores = static_cast<double>(context) * (indexer ? J * (F + 1) : F);
  return 2 * (projections + scores + static_cast<double>(std::min(topk_, context)) * H * (E + V));
}

int64_t DeepseekSparseAttention::saved_elements_per_token() const {
  // q, o and kv; the chosen positions (int32); with a lightning indexer its q, k and weights and their gradients.
  return heads_ * (kv_dim_ + value_dim_) + kv_dim_ + topk_ + (indexer ? 4 * (index_heads_ + 1) * (index_dim_ + 1) : 0);
}

void DeepseekSparseAttention::initialise(Initialiser& init) {
  for (auto* map : {&q_proj, &kv_proj, &o_proj}) init.projection((*map)->weight);
  if (indexer) return indexer->initialise(init);
  for (auto* map : {&q_score_proj, &k_score_proj}) init.projection((*map)->weight);
}

}  // namespace lt2
