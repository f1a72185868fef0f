#include "train/adamw.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/regex/regex.h"
#include "base/threads.h"
#include "mixers/mixer.h"
#include "ops/adamw/kernel.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

// Fixed pieces: sums must not depend on the number of threads.
constexpr int64_t kPiece = 1 << 16;

// Elements [begin, begin + count) of tensor number `index`.
struct Piece {
  size_t index;
  int64_t begin, count;
};

void cut(size_t index, int64_t count, std::vector<Piece>& pieces) {
  for (int64_t i = 0; i < count; i += kPiece) pieces.push_back({index, i, std::min(kPiece, count - i)});
}

}  // namespace

double sum_of_squares(const std::vector<torch::Tensor>& tensors) {
  std::vector<torch::Tensor> contiguous;
  std::vector<const float*> data;
  std::vector<Piece> pieces;
  double on_devices = 0;
  for (const auto& tensor : tensors) {
    if (!tensor.is_cpu()) {
      on_devices += tensor.to(torch::kFloat64).square().sum().item<double>();
      continue;
    }
    contiguous.push_back(tensor.contiguous());
    data.push_back(dense_data<float>(contiguous.back(), tensor.numel(), {"gradient norm", "gradient"}));
    cut(contiguous.size() - 1, tensor.numel(), pieces);
  }
  std::vector<double> sums(pieces.size());
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      sums[i] = sum_of_squares(data[pieces[i].index] + pieces[i].begin, pieces[i].count);
    }
  });
  return std::accumulate(sums.begin(), sums.end(), on_devices);
}

AdamW::AdamW(NamedTensors parameters, const OptimConfig& config, const LrScale& lr_scale) : config_(config) {
  std::vector<Regex> exempt;
  for (const auto& pattern : config.decay_exempt)
    exempt.emplace_back(pattern, fmt::format("optim.decay_exempt: \"{}\"", pattern));
  for (auto& [name, parameter] : parameters) {
    Slot slot{.name = name, .parameter = parameter, .exp_avg = {}, .exp_avg_sq = {}};
    if (lr_scale) slot.lr_scale = lr_scale(name);
    for (const auto& pattern : exempt) slot.decayed = slot.decayed && !pattern.found_in(name);
    slots_.push_back(std::move(slot));
  }
}

void AdamW::step(double step_lr, double gradient_scale) {
  torch::NoGradGuard no_grad;
  struct Update {
    AdamWStep constants;
    torch::Tensor gradient;  // owns what g points to
    const float* g;
    float *p, *m, *v;
  };
  std::vector<Update> updates;
  std::vector<Piece> pieces;
  for (auto& slot : slots_) {
    if (!slot.parameter.grad().defined()) continue;
    if (!slot.exp_avg.defined()) {
      slot.exp_avg = torch::zeros_like(slot.parameter);
      slot.exp_avg_sq = torch::zeros_like(slot.parameter);
    }
    ++slot.steps;
    const double n = static_cast<double>(slot.steps), lr = step_lr * slot.lr_scale;
    const AdamWStep s{.decay = static_cast<float>(1 - lr * (slot.decayed ? config_.weight_decay : 0)),
                      .beta1 = static_cast<float>(config_.beta1),
                      .beta2 = static_cast<float>(config_.beta2),
                      .gradient_scale = static_cast<float>(gradient_scale),
                      .step_size = static_cast<float>(lr / (1 - std::pow(config_.beta1, n))),
                      .inverse_root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(config_.beta2, n))),
                      .epsilon = static_cast<float>(config_.epsilon)};
    if (!slot.parameter.is_cpu()) {
      const auto g = slot.parameter.grad() * gradient_scale;
      slot.parameter.mul_(s.decay);
      slot.exp_avg.mul_(config_.beta1).add_(g, 1 - config_.beta1);
      slot.exp_avg_sq.mul_(config_.beta2).addcmul_(g, g, 1 - config_.beta2);
      slot.parameter.addcdiv_(
          slot.exp_avg, slot.exp_avg_sq.sqrt().mul_(s.inverse_root_correction).add_(config_.epsilon), -s.step_size);
      continue;
    }
    cut(updates.size(), slot.parameter.numel(), pieces);
    const auto gradient = slot.parameter.grad().contiguous();
    const auto data = [&](const torch::Tensor& t, const char* name) {
      return dense_data<float>(t, slot.parameter.numel(), {slot.name.c_str(), name});
    };
    updates.push_back({s, gradient, data(gradient, "gradient"), data(slot.parameter, "parameter"),
                       data(slot.exp_avg, "exp_avg"), data(slot.exp_avg_sq, "exp_avg_sq")});
    // Torch does not see this write: packed copies of the weight look at the version.
    slot.parameter.unsafeGetTensorImpl()->bump_version();
  }
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const auto& [index, at, count] = pieces[i];
      const Update& u = updates[index];
      adamw_step(u.constants, u.p + at, u.m + at, u.v + at, u.g + at, count);
    }
  });
}

NamedTensors AdamW::state() const {
  NamedTensors out;
  for (const auto& slot : slots_) {
    if (!slot.exp_avg.defined()) continue;
    out.emplace_back(slot.name + ".exp_avg", slot.exp_avg);
    out.emplace_back(slot.name + ".exp_avg_sq", slot.exp_avg_sq);
    out.emplace_back(slot.name + ".step", torch::tensor({slot.steps}, torch::kInt64));
  }
  return out;
}

void AdamW::restore(const NamedTensors& state) {
  for (auto& slot : slots_) {
    const bool present =
        std::any_of(state.begin(), state.end(), [&](const auto& item) { return item.first == slot.name + ".step"; });
    if (!present) {
      slot.steps = 0;
      slot.exp_avg = slot.exp_avg_sq = torch::Tensor();
      continue;
    }
    const auto shape = slot.parameter.sizes().vec();
    slot.exp_avg = take(state, slot.name + ".exp_avg", shape).to(slot.parameter.device(), torch::kFloat32).clone();
    slot.exp_avg_sq =
        take(state, slot.name + ".exp_avg_sq", shape).to(slot.parameter.device(), torch::kFloat32).clone();
    slot.steps = take(state, slot.name + ".step", {1}).item<int64_t>();
  }
}

}  // namespace lt2
