#include "ops/fan_out/op.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::identical;
using torch::Tensor;
using Tensors = std::vector<Tensor>;

Tensor gradient_of(const Tensor& x, const Tensors& outputs, const Tensors& gradients) {
  return torch::autograd::grad(outputs, {x}, gradients)[0];
}

TEST(FanOut, ReadersShareTheMemory) {
  const auto x = torch::randn({3, 5}).requires_grad_();
  for (const auto& reader : fan_out(x, 3)) {
    EXPECT_TRUE(identical(reader, x));
    EXPECT_TRUE(reader.is_alias_of(x));
    EXPECT_TRUE(reader.requires_grad());
  }
  const torch::NoGradGuard no_grad;
  for (const auto& reader : fan_out(x, 2)) EXPECT_TRUE(reader.is_same(x));
}

TEST(FanOut, SumsInTheOrderOfItsReaders) {
  for (const int64_t n : {1, 3, 17, 70001}) {
    const auto x = torch::randn({n}).requires_grad_();
    const auto readers = fan_out(x, 4);
    const Tensors gradients{torch::randn({n}), 1e6 * torch::randn({n}), torch::randn({n}), torch::randn({n})};
    // Asked for in another order, and not side by side.
    Tensors spread;
    for (const auto& each : gradients) spread.push_back(torch::stack({each, each}, 1).select(1, 0));
    const auto got =
        gradient_of(x, {readers[2], readers[0], readers[3], readers[1]}, {spread[2], spread[0], spread[3], spread[1]});
    EXPECT_TRUE(identical(got, gradients[0] + gradients[1] + gradients[2] + gradients[3]));
  }
}

TEST(FanOut, Bf16IsRoundedOnce) {
  const auto x = torch::randn({515}).to(torch::kBFloat16).requires_grad_();
  const auto readers = fan_out(x, 5);
  Tensors gradients;
  auto sum = torch::zeros({515});
  for (size_t i = 0; i < readers.size(); ++i) {
    gradients.push_back(torch::randn({515}).to(torch::kBFloat16));
    sum += gradients.back().to(torch::kFloat32);
  }
  EXPECT_TRUE(identical(gradient_of(x, readers, gradients), sum.to(torch::kBFloat16)));
}

TEST(FanOut, ReadersThatNobodyAsksHaveNoGradient) {
  const auto x = torch::randn({7}).requires_grad_();
  const auto readers = fan_out(x, 3);
  EXPECT_TRUE(identical(gradient_of(x, {2 * readers[1]}, {torch::ones({7})}), torch::full({7}, 2.0)));
  EXPECT_TRUE(identical(gradient_of(x, {2 * fan_out(x, 1)[0]}, {torch::ones({7})}), torch::full({7}, 2.0)));
}

TEST(FanOut, OtherTypesAreSummedByTorch) {
  const auto x = torch::randn({7}, torch::kFloat64).requires_grad_();
  const auto readers = fan_out(x, 2);
  const auto dy = torch::randn({7}, torch::kFloat64);
  EXPECT_TRUE(identical(gradient_of(x, readers, {dy, dy}), 2 * dy));
  EXPECT_THROW(fan_out(torch::arange(7), 2), Error);
}

}  // namespace
}  // namespace lt2
