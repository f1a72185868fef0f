#include "mixers/sparse_state.h"

#include <algorithm>

#include "base/error.h"
#include "ops/block_selection/op.h"

namespace lt2 {
namespace {

torch::TensorOptions cached(const StateOptions& options) { return torch::dtype(options.dtype).device(options.device); }
torch::TensorOptions exact(const StateOptions& options) { return cached(options).dtype(torch::kFloat32); }

}  // namespace

RowCache::RowCache(int64_t batch, int64_t width, torch::TensorOptions options, int64_t reserve_rows)
    : data_(torch::empty({batch, reserve_rows, width}, options)) {}

torch::Tensor RowCache::grow(int64_t count) {
  const int64_t capacity = data_.size(1);
  if (count_ + count > capacity) {
    const auto larger =
        torch::empty({data_.size(0), std::max(count_ + count, 2 * capacity), data_.size(2)}, data_.options());
    larger.narrow(1, 0, count_).copy_(rows());
    data_ = larger;
  }
  count_ += count;
  return rows();
}

torch::Tensor RowCache::append(const torch::Tensor& new_rows) {
  const auto all = grow(new_rows.size(1));
  all.narrow(1, count_ - new_rows.size(1), new_rows.size(1)).copy_(new_rows);
  return all;
}

void RowCache::restore(const NamedTensors& tensors, const std::string& name, int64_t count) {
  const auto saved = take(tensors, name, {data_.size(0), count, data_.size(2)});
  count_ = 0;
  grow(count).copy_(saved);
}

RowCache RowCache::clone(int64_t reserve_rows) const {
  RowCache copy(data_.size(0), data_.size(2), data_.options(), std::max(count_, reserve_rows));
  copy.append(rows());
  return copy;
}

NsaState::NsaState(const StateOptions& options, int64_t kv_heads, int64_t head_dim, int64_t block_size)
    : options_(options),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      block_size_(block_size),
      kv_(options_, kv_heads, head_dim),
      k_means_(options.batch, kv_heads * head_dim, exact(options), options.reserve_tokens / block_size),
      v_means_(options.batch, kv_heads * head_dim, exact(options), options.reserve_tokens / block_size),
      k_sum_(torch::zeros({options.batch, kv_heads, head_dim}, exact(options))),
      v_sum_(torch::zeros({options.batch, kv_heads, head_dim}, exact(options))) {}

NsaState::Seen NsaState::append(const torch::Tensor& k, const torch::Tensor& v) {
  const int64_t before = position;
  const auto keys = kv_.append(k, v);
  position = kv_.position;
  const auto extend = [&](const torch::Tensor& x, const torch::Tensor& sum, RowCache& cache) {
    const auto means = cache.grow(position / block_size_ - cache.count()).unflatten(2, {kv_heads_, head_dim_});
    // Summed in the type of the cache, as if read from it.
    extend_block_means(x.to(options_.dtype), before, block_size_, sum, means);
    return means;
  };
  return {keys.k, keys.v, extend(k, k_sum_, k_means_), extend(v, v_sum_, v_means_)};
}

NamedTensors NsaState::tensors() const {
  auto out = kv_.tensors();
  out.emplace_back("k_means", k_means_.rows());
  out.emplace_back("v_means", v_means_.rows());
  out.emplace_back("k_sum", k_sum_);
  out.emplace_back("v_sum", v_sum_);
  return out;
}

void NsaState::restore(const NamedTensors& tensors, int64_t new_position) {
  kv_.restore(tensors, new_position);
  k_means_.restore(tensors, "k_means", new_position / block_size_);
  v_means_.restore(tensors, "v_means", new_position / block_size_);
  k_sum_.copy_(take(tensors, "k_sum", k_sum_.sizes().vec()));
  v_sum_.copy_(take(tensors, "v_sum", v_sum_.sizes().vec()));
  position = new_position;
}

void NsaState::fill_synthetic(int64_t tokens) {
  const auto rows = torch::full({options_.batch, kv_heads_, tokens, head_dim_}, 0.01, cached(options_));
  const auto means = torch::full({options_.batch, tokens / block_size_, kv_heads_ * head_dim_}, 0.01, exact(options_));
  const auto sum = torch::full_like(k_sum_, 0.01);
  restore({{"k", rows}, {"v", rows}, {"k_means", means}, {"v_means", means}, {"k_sum", sum}, {"v_sum", sum}}, tokens);
}

std::unique_ptr<MixerState> NsaState::clone(int64_t reserve_tokens) const {
  auto copy = std::make_unique<NsaState>(*this);
  copy->kv_ = kv_.copy(reserve_tokens);
  copy->k_means_ = k_means_.clone(reserve_tokens / block_size_);
  copy->v_means_ = v_means_.clone(reserve_tokens / block_size_);
  copy->k_sum_ = k_sum_.clone();
  copy->v_sum_ = v_sum_.clone();
  return copy;
}

void NsaState::mark() {
  kv_.mark();
  marked_ = position;
}

void NsaState::rewind(int64_t keep) {
  kv_.rewind(keep);
  position = kv_.position;
  const int64_t blocks = position / block_size_, open = position % block_size_;
  const auto rows = kv_.tensors();
  const auto shorten = [&](const std::string& name, RowCache& means, torch::Tensor& sum) {
    means.shorten(blocks);
    sum.zero_();
    if (open == 0) return;
    // Computes the incomplete block's sums again, from its rows and in their order.
    const auto last = take(rows, name, {-1, -1, -1, -1}).narrow(2, position - open, open).transpose(1, 2);
    extend_block_means(last, position - open, block_size_, sum, means.grow(0).unflatten(2, {kv_heads_, head_dim_}));
  };
  shorten("k", k_means_, k_sum_);
  shorten("v", v_means_, v_sum_);
}

DsaState::DsaState(const StateOptions& options, int64_t kv_width, int64_t index_width)
    : kv(options.batch, kv_width, cached(options), options.reserve_tokens),
      index(options.batch, index_width, cached(options), options.reserve_tokens),
      options_(options),
      kv_width_(kv_width),
      index_width_(index_width) {}

NamedTensors DsaState::tensors() const { return {{"kv", kv.rows()}, {"index", index.rows()}}; }

void DsaState::restore(const NamedTensors& tensors, int64_t new_position) {
  kv.restore(tensors, "kv", new_position);
  index.restore(tensors, "index", new_position);
  position = new_position;
}

void DsaState::fill_synthetic(int64_t tokens) {
  restore({{"kv", torch::full({options_.batch, tokens, kv_width_}, 0.01, cached(options_))},
           {"index", torch::full({options_.batch, tokens, index_width_}, 0.01, cached(options_))}},
          tokens);
}

std::unique_ptr<MixerState> DsaState::clone(int64_t reserve_tokens) const {
  auto copy = std::make_unique<DsaState>(*this);
  copy->kv = kv.clone(reserve_tokens);
  copy->index = index.clone(reserve_tokens);
  return copy;
}

void DsaState::mark() { marked_ = position; }

void DsaState::rewind(int64_t keep) {
  LT2_CHECK(keep >= 0 && keep <= position - marked_, "rewind to {} tokens after the mark, of {}", keep,
            position - marked_);
  position = marked_ + keep;
  kv.shorten(position);
  index.shorten(position);
}

}  // namespace lt2
