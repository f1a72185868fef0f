#include "mixers/kv_state.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace lt2 {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

/// Rows of a full buffer: the window and spare rows, which include room for the rows that a mark keeps. Dropping old
/// rows moves the kept ones to the front, once per as many tokens as there are spare rows instead of at every token.
int64_t row_limit(std::optional<int64_t> window) {
  if (!window || *window > kUnlimited / 2) return kUnlimited;
  return *window - 1 + std::max(kMostRewound, *window / 8);
}

}  // namespace

TokenRows::TokenRows(const StateOptions& options, int64_t heads, int64_t width)
    : options_(options), heads_(heads), width_(width), limit_(row_limit(options.window)) {}

int64_t TokenRows::kept_after(int64_t tokens, std::optional<int64_t> window) {
  return window ? std::min(tokens, *window - 1) : tokens;
}

int64_t TokenRows::allocated_after(int64_t tokens, std::optional<int64_t> window) {
  return std::min(tokens, row_limit(window));
}

int64_t TokenRows::kept() const { return kept_after(rows_, options_.window); }

torch::Tensor TokenRows::view() const { return data_.defined() ? newest(kept()) : torch::Tensor(); }

void TokenRows::move_to(int64_t capacity, int64_t count) {
  auto data = data_;
  if (!data_.defined() || data_.size(2) < capacity) {
    data =
        torch::empty({options_.batch, heads_, capacity, width_}, torch::dtype(options_.dtype).device(options_.device));
  }
  if (count > 0) {
    const auto from = newest(count);
    // Within one buffer the old and the new place may overlap: copy as many rows at a time as lie between the two.
    const int64_t piece = data.is_same(data_) ? std::max<int64_t>(rows_ - count, 1) : count;
    for (int64_t row = 0; row < count; row += piece) {
      const int64_t rows = std::min(piece, count - row);
      data.narrow(2, row, rows).copy_(from.narrow(2, row, rows));
    }
  }
  data_ = data;
  rows_ = count;
}

void TokenRows::make_room(int64_t tokens) {
  const int64_t capacity = data_.defined() ? data_.size(2) : 0;
  if (rows_ + tokens <= capacity) return;
  const int64_t wanted = std::max({rows_ + tokens, options_.reserve_tokens, capacity * 2});
  move_to(std::min(wanted, limit_), std::min(rows_, kept() + since_mark_.value_or(0)));
}

torch::Tensor TokenRows::append(const torch::Tensor& rows) {
  const int64_t L = rows.size(1), old = kept();
  const auto added = rows.transpose(1, 2);
  if (old + L > limit_) {
    // Many tokens: they see old and new rows together, in memory of this call only.
    const auto all = old > 0 ? torch::cat({newest(old), added.to(options_.dtype)}, 2) : added.to(options_.dtype);
    const int64_t last = kept_after(old + L, options_.window);
    move_to(limit_, 0);
    data_.narrow(2, 0, last).copy_(all.narrow(2, old + L - last, last));
    rows_ = last;
    if (since_mark_) *since_mark_ += L;
    return all.transpose(1, 2);
  }
  make_room(L);
  data_.narrow(2, rows_, L).copy_(added);
  rows_ += L;
  if (since_mark_) *since_mark_ += L;
  return newest(old + L).transpose(1, 2);
}

void TokenRows::restore(const NamedTensors& tensors, const std::string& name, int64_t position) {
  data_ = torch::Tensor();
  rows_ = 0;
  if (position == 0) return;
  const int64_t count = kept_after(position, options_.window);
  const auto saved = take(tensors, name, {options_.batch, heads_, count, width_});
  move_to(std::min(std::max(count, options_.reserve_tokens), limit_), 0);
  data_.narrow(2, 0, count).copy_(saved);
  rows_ = count;
}

TokenRows TokenRows::clone(int64_t reserve_tokens) const {
  TokenRows copy = *this;
  copy.options_.reserve_tokens = reserve_tokens;
  copy.since_mark_.reset();
  if (!data_.defined()) return copy;
  const auto rows = view();
  copy.data_ = torch::Tensor();
  copy.rows_ = 0;
  copy.move_to(std::min(std::max(rows.size(2), reserve_tokens), limit_), 0);
  copy.data_.narrow(2, 0, rows.size(2)).copy_(rows);
  copy.rows_ = rows.size(2);
  return copy;
}

void TokenRows::rewind(int64_t keep) {
  LT2_CHECK(since_mark_ && keep >= 0 && keep <= *since_mark_ && *since_mark_ <= kMostRewound,
            "rewind to {} tokens after the mark, of {}", keep, since_mark_.value_or(-1));
  rows_ -= *since_mark_ - keep;
  since_mark_.reset();
}

void TokenRows::fill_synthetic(int64_t position) {
  const auto values = torch::full({}, 0.01, torch::dtype(options_.dtype).device(options_.device))
                          .expand({options_.batch, heads_, kept_after(position, options_.window), width_});
  restore({{"rows", values}}, "rows", position);
}

KvState::KvState(const StateOptions& options, int64_t kv_heads, int64_t head_dim)
    : k_(options, kv_heads, head_dim), v_(options, kv_heads, head_dim) {}

KvState::Keys KvState::append(const torch::Tensor& k, const torch::Tensor& v) {
  const auto keys = k_.append(k), values = v_.append(v);
  position += k.size(1);
  return {keys, values, position - keys.size(1)};
}

NamedTensors KvState::tensors() const {
  if (position == 0) return {};
  return {{"k", k_.view()}, {"v", v_.view()}};
}

void KvState::restore(const NamedTensors& tensors, int64_t new_position) {
  k_.restore(tensors, "k", new_position);
  v_.restore(tensors, "v", new_position);
  position = new_position;
}

void KvState::fill_synthetic(int64_t tokens) {
  k_.fill_synthetic(tokens);
  v_.fill_synthetic(tokens);
  position = tokens;
}

std::unique_ptr<MixerState> KvState::clone(int64_t reserve_tokens) const {
  return std::make_unique<KvState>(copy(reserve_tokens));
}

KvState KvState::copy(int64_t reserve_tokens) const {
  KvState out = *this;
  out.k_ = k_.clone(reserve_tokens);
  out.v_ = v_.clone(reserve_tokens);
  return out;
}

void KvState::mark() {
  k_.mark();
  v_.mark();
  marked_ = position;
}

void KvState::rewind(int64_t keep) {
  k_.rewind(keep);
  v_.rewind(keep);
  position = marked_ + keep;
}

int64_t KvState::bytes_after(int64_t tokens, std::optional<int64_t> window, int64_t width, torch::ScalarType dtype) {
  return 2 * TokenRows::kept_after(tokens, window) * width * static_cast<int64_t>(c10::elementSize(dtype));
}

}  // namespace lt2
