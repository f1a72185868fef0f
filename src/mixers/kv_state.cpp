#include "mixers/kv_state.h"

#include <algorithm>

namespace lt2 {
namespace {

// Rows beyond the window: dropping old rows moves the kept ones to the front, once per this many tokens instead of at
// every token.
int64_t window_slack(int64_t window) { return std::max<int64_t>(64, window / 8); }

}  // namespace

KvState::KvState(const StateOptions& options, int64_t kv_heads, int64_t head_dim)
    : options_(options), kv_heads_(kv_heads), head_dim_(head_dim) {}

int64_t KvState::kept_rows() const { return options_.window ? std::min(rows_, *options_.window - 1) : rows_; }

void KvState::make_room(int64_t tokens) {
  const int64_t capacity = k_.defined() ? k_.size(2) : 0;
  if (rows_ + tokens <= capacity) return;
  const int64_t kept = kept_rows();
  const auto newest = [&](const torch::Tensor& t) { return t.narrow(2, rows_ - kept, kept); };
  int64_t wanted;
  if (options_.window) {
    wanted = std::max(kept + tokens, std::min(*options_.window, std::max(options_.reserve_tokens, kept + tokens)) +
                                         window_slack(*options_.window));
  } else {
    wanted = std::max({rows_ + tokens, options_.reserve_tokens, capacity * 2});
  }
  if (wanted <= capacity && kept > 0) {  // a window: move the kept rows to the front (they may overlap their old place)
    k_.narrow(2, 0, kept).copy_(newest(k_).clone());
    v_.narrow(2, 0, kept).copy_(newest(v_).clone());
  } else if (wanted > capacity) {
    const auto grown = [&](const torch::Tensor& old) {
      auto t = torch::empty({options_.batch, kv_heads_, wanted, head_dim_},
                            torch::dtype(options_.dtype).device(options_.device));
      if (kept > 0) t.narrow(2, 0, kept).copy_(newest(old));
      return t;
    };
    const auto k = grown(k_), v = grown(v_);
    k_ = k;
    v_ = v;
  }
  rows_ = kept;
}

KvState::Keys KvState::append(const torch::Tensor& k, const torch::Tensor& v) {
  const int64_t L = k.size(1);
  make_room(L);
  k_.narrow(2, rows_, L).copy_(k.transpose(1, 2));
  v_.narrow(2, rows_, L).copy_(v.transpose(1, 2));
  const int64_t visible = kept_rows() + L, begin = rows_ + L - visible;
  rows_ += L;
  position += L;
  const auto rows = [&](const torch::Tensor& t) { return t.narrow(2, begin, visible).transpose(1, 2); };
  return {rows(k_), rows(v_), position - visible};
}

NamedTensors KvState::tensors() const {
  if (!k_.defined()) return {};
  const int64_t kept = kept_rows();
  return {{"k", k_.narrow(2, rows_ - kept, kept)}, {"v", v_.narrow(2, rows_ - kept, kept)}};
}

void KvState::restore(const NamedTensors& tensors, int64_t new_position) {
  position = new_position;
  rows_ = 0;
  k_ = v_ = torch::Tensor();
  if (new_position == 0) return;
  rows_ = options_.window ? std::min(new_position, *options_.window - 1) : new_position;
  const std::vector<int64_t> shape{options_.batch, kv_heads_, rows_, head_dim_};
  const auto load = [&](const char* name) {
    const int64_t capacity =
        std::max(rows_, options_.window ? rows_ + window_slack(*options_.window) : options_.reserve_tokens);
    auto t = torch::empty({options_.batch, kv_heads_, capacity, head_dim_},
                          torch::dtype(options_.dtype).device(options_.device));
    t.narrow(2, 0, rows_).copy_(take(tensors, name, shape));
    return t;
  };
  k_ = load("k");
  v_ = load("v");
}

void KvState::fill_synthetic(int64_t tokens) {
  const int64_t rows = options_.window ? std::min(tokens, *options_.window - 1) : tokens;
  const auto values = torch::full({options_.batch, kv_heads_, rows, head_dim_}, 0.01,
                                  torch::dtype(options_.dtype).device(options_.device));
  restore({{"k", values}, {"v", values}}, tokens);
}

int64_t KvState::bytes_after(int64_t tokens, std::optional<int64_t> window, int64_t width, torch::ScalarType dtype) {
  const int64_t rows = window ? std::min(tokens, *window - 1) : tokens;
  return 2 * rows * width * static_cast<int64_t>(c10::elementSize(dtype));
}

}  // namespace lt2
