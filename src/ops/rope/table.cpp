#include "ops/rope/table.h"

#include <map>
#include <mutex>
#include <tuple>

#include "ops/pointer.h"

namespace lt2 {
namespace {

// Positions of one cached table: made whole at the first touch, so that decoding computes one in this many tokens.
constexpr int64_t kBlock = 512;

}  // namespace

torch::Tensor rope_table(double base, int64_t E, int64_t first, int64_t count, torch::ScalarType type,
                         torch::Device device) {
  const torch::NoGradGuard no_grad;
  const auto even = torch::arange(0, E, 2, torch::TensorOptions().dtype(type));
  const auto theta = (1.0 / torch::pow(base, even / static_cast<double>(E))).to(device);  // [E / 2]
  const auto position =
      torch::arange(first, first + count, torch::TensorOptions().dtype(torch::kInt64)).to(device, type);
  const auto angle = position.unsqueeze(1) * theta;  // [count, E / 2]
  return torch::cat({angle.cos(), angle.sin()}, 1);
}

std::vector<const float*> rope_cached_rows(double base, int64_t E, int64_t first, int64_t count, RopeAngles angles) {
  using Blocks = std::map<int64_t, torch::Tensor>;
  static std::mutex mutex;
  // Never destroyed: a thread may still rotate while the program ends.
  static auto& tables = *new std::map<std::tuple<double, int64_t, RopeAngles>, Blocks>();
  std::vector<const float*> rows;
  rows.reserve(static_cast<size_t>(count));
  const std::lock_guard lock(mutex);
  auto& blocks = tables[{base, E, angles}];
  for (int64_t position = first; position < first + count;) {
    const int64_t index = position / kBlock;
    auto& block = blocks[index];
    if (!block.defined()) {
      const auto computed = angles == RopeAngles::kExact ? torch::kFloat64 : torch::kFloat32;
      block = rope_table(base, E, index * kBlock, kBlock, computed, torch::kCPU).to(torch::kFloat32);
    }
    const float* data = dense_data<float>(block, kBlock * E, {"rope", "table"});
    for (; position < first + count && position / kBlock == index; ++position) {
      rows.push_back(data + position % kBlock * E);
    }
  }
  return rows;
}

}  // namespace lt2
