#include "ops/rope/op.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/threads.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;

struct Case {
  std::string name;
  int64_t B, L, H, E, first;
  RopeLayout layout;
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

class Rope : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::manual_seed(8); }
};

// Written out number by number: theta, angle, cosine and sine each rounded to fp32 by torch's own functions.
torch::Tensor by_hand(const torch::Tensor& x, double base, int64_t first, RopeLayout layout) {
  const int64_t L = x.size(1), E = x.size(3);
  const auto theta = 1.0 / torch::pow(base, torch::arange(0, E, 2).slice(0, 0, E / 2).to(torch::kFloat32) / E);
  const auto angle = torch::outer(torch::arange(first, first + L), theta).to(torch::kFloat32).to(x.device());
  const auto cos = torch::cos(angle).to(torch::kFloat64), sin = torch::sin(angle).to(torch::kFloat64);
  const auto v = x.detach().to(torch::kFloat64);
  auto y = torch::empty_like(v);
  for (int64_t i = 0; i < E / 2; ++i) {
    const int64_t p = layout == RopeLayout::kPairs ? 2 * i : i,
                  q = layout == RopeLayout::kPairs ? 2 * i + 1 : i + E / 2;
    const auto c = cos.select(1, i).view({1, L, 1}), s = sin.select(1, i).view({1, L, 1});
    y.select(3, p).copy_(v.select(3, p) * c - v.select(3, q) * s);
    y.select(3, q).copy_(v.select(3, p) * s + v.select(3, q) * c);
  }
  return y;
}

TEST_P(Rope, MatchesTorchsFp32Angles) {
  const auto c = GetParam();
  const auto x = torch::randn({c.B, c.L, c.H, c.E});
  const auto truth = by_hand(x, 10000, c.first, c.layout);
  EXPECT_TRUE(close(rope(x, 10000, c.first, c.layout), truth, 1e-6));
  EXPECT_TRUE(close(rope_reference(x, 10000, c.first, c.layout), truth, 1e-6));
  const auto low = x.to(torch::kBFloat16);
  EXPECT_TRUE(close(rope(low, 10000, c.first, c.layout), by_hand(low, 10000, c.first, c.layout), 5e-3));
}

TEST_P(Rope, GradientIsTheInverseRotation) {
  const auto c = GetParam();
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto x = torch::randn({c.B, c.L, c.H, c.E}).to(type).requires_grad_();
    const auto x32 = x.detach().to(torch::kFloat32).requires_grad_();
    const auto dy = torch::randn(x.sizes()).to(type);
    const auto got = torch::autograd::grad({rope(x, 5e5, c.first, c.layout)}, {x}, {dy})[0];
    const auto want =
        torch::autograd::grad({rope_reference(x32, 5e5, c.first, c.layout)}, {x32}, {dy.to(torch::kFloat32)})[0];
    EXPECT_TRUE(close(got, want, type == torch::kFloat32 ? 1e-6 : 5e-3));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Rope,
                         ::testing::Values(Case{"pairs_width_2", 2, 3, 1, 2, 0, RopeLayout::kPairs},
                                           Case{"pairs_width_64", 2, 67, 3, 64, 0, RopeLayout::kPairs},
                                           Case{"pairs_width_34_far", 1, 40, 2, 34, 32750, RopeLayout::kPairs},
                                           Case{"pairs_one_token", 1, 1, 8, 64, 511, RopeLayout::kPairs},
                                           Case{"halves_width_2", 2, 3, 1, 2, 7, RopeLayout::kHalves},
                                           Case{"halves_width_96_far", 1, 40, 2, 96, 32750, RopeLayout::kHalves},
                                           Case{"halves_width_22", 3, 600, 1, 22, 500, RopeLayout::kHalves}),
                         [](const auto& i) { return i.param.name; });

TEST(RopeProperties, PartsEqualTheWholeAndSequencesDoNotMeet) {
  torch::manual_seed(9);
  for (const auto layout : {RopeLayout::kPairs, RopeLayout::kHalves}) {
    const auto x = torch::randn({2, 70, 4, 48});
    const auto whole = rope(x, 10000, 480, layout);
    EXPECT_TRUE(identical(whole.narrow(1, 33, 37), rope(x.narrow(1, 33, 37), 10000, 513, layout)));
    EXPECT_TRUE(identical(whole.narrow(0, 1, 1), rope(x.narrow(0, 1, 1), 10000, 480, layout)));
  }
}

TEST(RopeProperties, Fp64UsesFp64Angles) {
  const auto x = torch::randn({1, 2, 1, 8}, torch::kFloat64);
  const double theta = 1 / std::pow(10000, 2.0 / 8), angle = 32768 * theta;
  const auto y = rope(x, 10000, 32767, RopeLayout::kPairs);
  EXPECT_NEAR(y[0][1][0][2].item<double>(),
              x[0][1][0][2].item<double>() * std::cos(angle) - x[0][1][0][3].item<double>() * std::sin(angle), 1e-9);
}

TEST(RopeProperties, TheTableServesManyThreads) {
  const auto x = torch::ones({1, 300, 1, 10});
  const auto expected = rope_reference(x, 77, 1000, RopeLayout::kHalves);
  std::vector<torch::Tensor> got(4);
  std::vector<std::thread> threads;
  for (auto& y : got) threads.emplace_back([&] { y = rope(x, 77, 1000, RopeLayout::kHalves); });
  for (auto& t : threads) t.join();
  for (const auto& y : got) EXPECT_TRUE(close(y, expected, 1e-6));
}

TEST(RopeProperties, OddWidthIsAnError) {
  EXPECT_ANY_THROW(rope(torch::ones({1, 1, 1, 3}), 10000, 0, RopeLayout::kPairs));
}

TEST(RopeAngles, ExactTablesAreRightFarOut) {
  torch::manual_seed(3);
  const auto x = torch::randn({1, 70, 2, 16});
  for (const int64_t first : {0, 500, 1'000'000}) {
    const auto truth = rope_reference(x.to(torch::kFloat64), 10000, first, RopeLayout::kHalves);
    EXPECT_TRUE(close(rope(x, 10000, first, RopeLayout::kHalves, RopeAngles::kExact), truth, 1e-6));
    EXPECT_TRUE(close(rope_reference(x, 10000, first, RopeLayout::kHalves, RopeAngles::kExact), truth, 1e-6));
    auto leaf = x.clone().requires_grad_(), exact = x.to(torch::kFloat64).requires_grad_();
    rope(leaf, 10000, first, RopeLayout::kHalves, RopeAngles::kExact).pow(3).sum().backward();
    rope_reference(exact, 10000, first, RopeLayout::kHalves).pow(3).sum().backward();
    EXPECT_TRUE(close(leaf.grad(), exact.grad(), 1e-5));
  }
  // The other table is another one, also where both are cached.
  EXPECT_FALSE(identical(rope(x, 10000, 1'000'000, RopeLayout::kHalves),
                         rope(x, 10000, 1'000'000, RopeLayout::kHalves, RopeAngles::kExact)));
}

}  // namespace
}  // namespace lt2
