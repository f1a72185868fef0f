#include "mixers/linear_state.h"

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

torch::Tensor LinearState::set_aside() {
  if (!aside_.defined()) aside_ = torch::empty_like(S);
  return aside_.copy_(S);
}

}  // namespace lt2
