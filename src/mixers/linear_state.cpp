#include "mixers/linear_state.h"

#include <algorithm>

#include "base/error.h"

namespace lt2 {

LinearState::LinearState(const StateOptions& options, int64_t heads, int64_t key_dim, int64_t value_dim,
                         std::vector<std::pair<std::string, int64_t>> convolutions, int64_t tail_rows)
    : convolutions_(std::move(convolutions)) {
  S = torch::zeros({options.batch, heads, key_dim, value_dim}, torch::dtype(torch::kFloat32).device(options.device));
  for (const auto& [name, channels] : convolutions_) {
    tails.push_back(
        torch::zeros({options.batch, tail_rows, channels}, torch::dtype(options.dtype).device(options.device)));
  }
}

NamedTensors LinearState::tensors() const {
  NamedTensors out{{"S", S}};
  for (size_t i = 0; i < tails.size(); ++i) out.emplace_back("conv." + convolutions_[i].first, tails[i]);
  return out;
}

void LinearState::restore(const NamedTensors& tensors, int64_t new_position) {
  position = new_position;
  S.copy_(take(tensors, "S", S.sizes().vec()));
  for (size_t i = 0; i < tails.size(); ++i)
    tails[i].copy_(take(tensors, "conv." + convolutions_[i].first, tails[i].sizes().vec()));
}

void LinearState::fill_synthetic(int64_t tokens) {
  position = tokens;
  S.fill_(0.01);
  for (auto& tail : tails) tail.fill_(0.01);
}

std::unique_ptr<MixerState> LinearState::clone(int64_t) const {
  auto copy = std::make_unique<LinearState>(*this);
  copy->S = S.clone();
  for (auto& tail : copy->tails) tail = tail.clone();
  copy->aside_ = torch::Tensor();
  copy->mark_.reset();
  return copy;
}

void LinearState::mark() {
  // The matrices are written in place, tails are replaced.
  auto kept = mark_ ? mark_->S.copy_(S) : S.clone();
  mark_ = Mark{.S = kept,
               .tails = tails,
               .position = position,
               .inputs = {},
               .convolved = std::vector<std::vector<torch::Tensor>>(tails.size())};
}

void LinearState::advance(const LinearRecurrenceInput& in, const torch::Tensor& after) {
  if (mark_) {
    mark_->inputs.push_back(in);
    auto& kept = mark_->inputs.back();
    kept.state = torch::Tensor();
    // Copies: views would keep the rows of everything else in the pass.
    for (auto* rows : {&kept.q, &kept.k, &kept.v, &kept.g, &kept.beta}) {
      if (rows->defined()) *rows = rows->clone();
    }
  }
  S = after;
  position += in.q.size(1);
}

void LinearState::advance_tail(size_t i, const torch::Tensor& x, const torch::Tensor& tail) {
  if (mark_) mark_->convolved[i].push_back(x.clone());
  tails[i] = tail;
}

void LinearState::rewind(int64_t keep) {
  LT2_CHECK(mark_ && keep >= 0 && keep <= position - mark_->position, "rewind to {} tokens after the mark, of {}", keep,
            mark_ ? position - mark_->position : -1);
  Mark since = std::move(*mark_);
  mark_.reset();
  if (position == since.position + keep) return;
  S.copy_(since.S);
  position = since.position;
  for (auto& in : since.inputs) {
    const int64_t count = std::min(keep - (position - since.position), in.q.size(1));
    if (count == 0) break;
    in = part_of(in, 0, count);
    in.state = S;
    in.position = position;
    in.inplace_state = true;
    linear_recurrence(in);
    position += count;
  }
  for (size_t i = 0; i < tails.size(); ++i) {
    auto rows = since.convolved[i];
    rows.insert(rows.begin(), since.tails[i]);
    tails[i] = torch::cat(rows, 1).narrow(1, keep, since.tails[i].size(1)).contiguous();
  }
}

torch::Tensor LinearState::set_aside() {
  if (!aside_.defined()) aside_ = torch::empty_like(S);
  return aside_.copy_(S);
}

}  // namespace lt2
