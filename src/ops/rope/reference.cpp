#include "ops/rope/op.h"
#include "ops/rope/table.h"

namespace lt2 {

torch::Tensor rope_reference(const torch::Tensor& x, double base, int64_t first_position, RopeLayout layout,
                             RopeAngles angles) {
  const int64_t L = x.size(1), E = x.size(3);
  const auto type = x.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const auto computed = angles == RopeAngles::kExact ? torch::kFloat64 : type;
  const auto table = rope_table(base, E, first_position, L, computed, x.device()).to(type).view({1, L, 1, 2, E / 2});
  const auto cos = table.select(3, 0), sin = table.select(3, 1);  // [1, L, 1, E / 2]
  // The pair's two members on one axis: last for neighbours, before last for halves.
  const int64_t axis = layout == RopeLayout::kPairs ? 4 : 3;
  const auto shape = layout == RopeLayout::kPairs ? std::vector<int64_t>{x.size(0), L, x.size(2), E / 2, 2}
                                                  : std::vector<int64_t>{x.size(0), L, x.size(2), 2, E / 2};
  const auto pairs = x.to(type).reshape(shape);
  const auto a = pairs.select(axis, 0), b = pairs.select(axis, 1);
  return torch::stack({a * cos - b * sin, a * sin + b * cos}, axis).reshape(x.sizes()).to(x.scalar_type());
}

}  // namespace lt2
