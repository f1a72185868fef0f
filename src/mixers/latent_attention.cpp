#include "mixers/latent_attention.h"

#include <algorithm>
#include <cmath>

#include "ops/causal_attention/op.h"
#include "ops/head_linear/op.h"
#include "ops/per_channel/op.h"
#include "ops/pointer.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"

namespace lt2 {
namespace {

constexpr double kInnerNormEps = 1e-5;  // the official layer never passes norm_eps here
// The least number of tokens between two multiples of kAttentionBlock for which expanding is faster.
constexpr int64_t kMinExpanded = 8;
// Elements of keys and values that are expanded at a time.
constexpr int64_t kExpandedElements = int64_t{1} << 22;

}  // namespace

NormedLowRankImpl::NormedLowRankImpl(int64_t in, int64_t rank, int64_t out) {
  down = register_module("0", Linear(in, rank));
  norm = register_module("1", Norm(rank));
  up = register_module("2", Linear(rank, out));
}

torch::Tensor NormedLowRankImpl::latent(const torch::Tensor& x) {
  return rms_norm(down->forward(x), norm->weight, kInnerNormEps, x.scalar_type());
}

void NormedLowRankImpl::initialise(Initialiser& init) {
  for (auto* map : {&down, &up}) init.projection((*map)->weight);
  Initialiser::constant(norm->weight, 1);
}

LatentState::LatentState(const StateOptions& options, int64_t width) : rows_(options, 1, width) {}

LatentState::Rows LatentState::append(const torch::Tensor& rows) {
  const auto seen = rows_.append(rows.unsqueeze(2));
  position += rows.size(1);
  return {seen, position - seen.size(1)};
}

NamedTensors LatentState::tensors() const {
  if (position == 0) return {};
  return {{"latent_rope", rows_.view()}};
}

void LatentState::restore(const NamedTensors& tensors, int64_t new_position) {
  rows_.restore(tensors, "latent_rope", new_position);
  position = new_position;
}

void LatentState::fill_synthetic(int64_t tokens) {
  rows_.fill_synthetic(tokens);
  position = tokens;
}

std::unique_ptr<MixerState> LatentState::clone(int64_t reserve_tokens) const {
  auto copy = std::make_unique<LatentState>(*this);
  copy->rows_ = rows_.clone(reserve_tokens);
  return copy;
}

void LatentState::mark() {
  rows_.mark();
  marked_ = position;
}

void LatentState::rewind(int64_t keep) {
  rows_.rewind(keep);
  position = marked_ + keep;
}

LatentAttention::LatentAttention(const ModelConfig& c)
    : dim_(c.dim),
      heads_(*c.n_heads),
      rope_dim_(c.mla.qk_rope_head_dim),
      plain_dim_(c.mla.qk_nope_head_dim),
      value_dim_(c.mla.v_head_dim),
      latent_dim_(c.mla.kv_lora_rank),
      q_rank_(c.mla.q_lora_rank.value_or(0)),
      window_(c.mla.window_size),
      rope_theta_(c.rope_theta),
      scale_(1 / std::sqrt(static_cast<double>(rope_dim_ + plain_dim_))) {
  const int64_t query = heads_ * (plain_dim_ + rope_dim_);
  if (q_rank_ > 0) {
    q_low_rank = register_module("q_proj", NormedLowRank(dim_, q_rank_, query));
  } else {
    q_proj = register_module("q_proj", Linear(dim_, query));
  }
  k_rope = register_module("k_rope", Linear(dim_, rope_dim_));
  kv_proj = register_module("kv_proj", NormedLowRank(dim_, latent_dim_, heads_ * (plain_dim_ + value_dim_)));
  o_proj = register_module("o_proj", Linear(heads_ * value_dim_, dim_));
}

LatentAttention::Queries LatentAttention::Queries::part(int64_t begin, int64_t count) const {
  return {plain.narrow(1, begin, count), rotated.narrow(1, begin, count)};
}

torch::Tensor LatentAttention::forward(const torch::Tensor& x, const MixerCall& call) {
  const int64_t B = x.size(0), L = x.size(1);
  const auto query = (q_low_rank ? q_low_rank->up->forward(q_low_rank->latent(x)) : q_proj->forward(x))
                         .view({B, L, heads_, plain_dim_ + rope_dim_});
  const auto key = k_rope->forward(x).view({B, L, 1, rope_dim_});
  const auto attend = [&](const std::vector<torch::Tensor>& own, MixerState* of) {
    auto* state = static_cast<LatentState*>(of);
    const int64_t position = state ? state->position : 0;
    const auto rotate = [&](const torch::Tensor& t) { return rope(t, rope_theta_, position, RopeLayout::kHalves); };
    const Queries q{own[0].narrow(3, 0, plain_dim_), rotate(own[0].narrow(3, plain_dim_, rope_dim_))};
    const auto rows = torch::cat({own[1], rotate(own[2]).squeeze(2)}, -1);
    return state ? attend_all(q, state->append(rows)) : attend_expanded(q, rows.unsqueeze(2), 0);
  };
  const auto o = each_sequence(call, {query, kv_proj->latent(x), key}, attend).flatten(2);
  return call.residual.defined() ? o_proj->forward_add(o, call.residual) : o_proj->forward(o);
}

torch::Tensor LatentAttention::attend_all(const Queries& q, const LatentState::Rows& seen) {
  const int64_t L = q.plain.size(1), S = seen.rows.size(1), first = seen.first_position + S - L;
  std::vector<torch::Tensor> parts;
  for (int64_t begin = 0; begin < L;) {
    // The longest run of segments of one form.
    const auto segment_end = [&](int64_t at) {
      return std::min(L, ((first + at) / kAttentionBlock + 1) * kAttentionBlock - first);
    };
    int64_t end = segment_end(begin);
    // The absorbed form has no gradient.
    const auto expands = [](int64_t tokens) { return torch::GradMode::is_enabled() || tokens >= kMinExpanded; };
    const bool expand = expands(end - begin);
    while (end < L && expands(segment_end(end) - end) == expand) end = segment_end(end);
    // Row S - L + t belongs to token t of the call.
    const int64_t skipped = window_ ? std::max<int64_t>(0, S - L + begin - *window_ + 1) : 0;
    const auto rows = seen.rows.narrow(1, skipped, S - L + end - skipped);
    const auto queries = q.part(begin, end - begin);
    const int64_t first_row = seen.first_position + skipped;
    parts.push_back(expand ? attend_expanded(queries, rows, first_row) : attend_absorbed(queries, rows, first_row));
    begin = end;
  }
  return parts.size() == 1 ? parts[0] : torch::cat(parts, 1);
}

torch::Tensor LatentAttention::attend_expanded(const Queries& q, const torch::Tensor& rows, int64_t first_position) {
  const int64_t B = rows.size(0), S = rows.size(1), width = plain_dim_ + value_dim_;
  const auto latent = rows.squeeze(2).narrow(2, 0, latent_dim_).contiguous();
  const auto rotated = rows.narrow(3, latent_dim_, rope_dim_);
  const auto queries = torch::cat({q.plain, q.rotated}, -1);
  const auto attend = [&](const torch::Tensor& expanded, int64_t head, int64_t heads) {
    const auto kv = expanded.view({B, S, heads, width});
    return causal_attention(
        {.q = queries.narrow(2, head, heads),
         .k = torch::cat({kv.narrow(3, 0, plain_dim_), repeat_for_heads(rotated.squeeze(2), heads)}, -1),
         .v = kv.narrow(3, plain_dim_, value_dim_),
         .window = window_,
         .scale = scale_,
         .first_position = first_position});
  };
  // Training keeps every head's keys for the gradient in any case.
  const int64_t of_head = B * S * (width + plain_dim_ + rope_dim_);
  const int64_t group =
      torch::GradMode::is_enabled() ? heads_ : std::clamp<int64_t>(kExpandedElements / of_head, 1, heads_);
  if (group == heads_) return attend(kv_proj->up->forward(latent), 0, heads_);
  std::vector<torch::Tensor> o;
  for (int64_t head = 0; head < heads_; head += group) {
    const int64_t heads = std::min(group, heads_ - head);
    const auto weight = kv_proj->up->weight.narrow(0, head * width, heads * width);
    o.push_back(attend(lt2::linear(latent, weight), head, heads));
  }
  return torch::cat(o, 2);
}

torch::Tensor LatentAttention::attend_absorbed(const Queries& q, const torch::Tensor& rows, int64_t first_position) {
  const auto& weights = absorbed(rows.scalar_type());
  const auto o = causal_attention({.q = torch::cat({head_linear(q.plain, weights.key), q.rotated}, -1),
                                   .k = rows,
                                   .v = rows.narrow(3, 0, latent_dim_),
                                   .window = window_,
                                   .scale = scale_,
                                   .first_position = first_position});
  return head_linear(o, weights.value);
}

const LatentAttention::Absorbed& LatentAttention::absorbed(torch::ScalarType type) {
  const auto& weight = kv_proj->up->weight;
  // A weight created under InferenceMode has no version counter.
  const bool watched = !weight.is_inference();
  const bool same = watched && absorbed_from_.defined() && address_of(absorbed_from_) == address_of(weight) &&
                    absorbed_version_ == static_cast<int64_t>(weight._version()) && absorbed_type_ == type &&
                    absorbed_from_.scalar_type() == weight.scalar_type();
  if (same) return absorbed_;
  const torch::NoGradGuard no_grad;
  absorbed_from_ = weight.detach();
  absorbed_version_ = watched ? static_cast<int64_t>(weight._version()) : -1;
  absorbed_type_ = type;
  auto exact = absorbed_from_.view({heads_, plain_dim_ + value_dim_, latent_dim_});
  if (type == torch::kBFloat16) exact = exact.to(type).to(weight.scalar_type());
  absorbed_.key = exact.narrow(1, 0, plain_dim_).contiguous();
  absorbed_.value = exact.narrow(1, plain_dim_, value_dim_).transpose(1, 2).contiguous();
  return absorbed_;
}

std::unique_ptr<MixerState> LatentAttention::make_state(const StateOptions& options) const {
  auto own = options;
  own.window = window_;
  return std::make_unique<LatentState>(own, latent_dim_ + rope_dim_);
}

int64_t LatentAttention::state_bytes(int64_t tokens, std::optional<int64_t>, torch::ScalarType dtype) const {
  return TokenRows::kept_after(tokens, window_) * (latent_dim_ + rope_dim_) *
         static_cast<int64_t>(c10::elementSize(dtype));
}

int64_t LatentAttention::allocated_bytes(int64_t tokens, std::optional<int64_t>, torch::ScalarType dtype) const {
  return TokenRows::allocated_after(tokens, window_) * (latent_dim_ + rope_dim_) *
         static_cast<int64_t>(c10::elementSize(dtype));
}

int64_t LatentAttention::state_traffic_bytes(int64_t tokens, std::optional<int64_t> window,
                                             torch::ScalarType dtype) const {
  return state_bytes(tokens, window, dtype);  // all of it is read, one row is written
}

double LatentAttention::flops_per_token(int64_t context, std::optional<int64_t>) const {
  const double query = static_cast<double>(heads_ * (plain_dim_ + rope_dim_));
  const double expanded = static_cast<double>(heads_ * (plain_dim_ + value_dim_));
  const double value = static_cast<double>(heads_ * value_dim_);
  const double dim = static_cast<double>(dim_), rank = static_cast<double>(q_rank_);
  const double keys = static_cast<double>(window_ ? std::min(*window_, context) : context);
  return 2 * ((q_rank_ > 0 ? rank * (dim + query) : dim * query) + dim * static_cast<double>(rope_dim_ + latent_dim_) +
              static_cast<double>(latent_dim_) * expanded + value * dim + (query + value) * keys);
}

int64_t LatentAttention::saved_elements_per_token() const {
  // Queries and keys of every head, their expansion, o; latents before and after their norms.
  return heads_ * (2 * (plain_dim_ + rope_dim_) + plain_dim_ + 2 * value_dim_) + 3 * latent_dim_ + 2 * q_rank_;
}

void LatentAttention::initialise(Initialiser& init) {
  if (q_low_rank) {
    q_low_rank->initialise(init);
  } else {
    init.projection(q_proj->weight);
  }
  init.projection(k_rope->weight);
  kv_proj->initialise(init);
  init.projection(o_proj->weight);
}

}  // namespace lt2
