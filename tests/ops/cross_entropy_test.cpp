#include "ops/cross_entropy/op.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/threads.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;
using torch::Tensor;

struct Case {
  std::string name;
  int64_t rows, V, D;
  double scale;  // of h: larger means more peaked
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

class CrossEntropy : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::manual_seed(10); }
};

struct Input {
  Tensor h, weight, targets;
};
Input make_input(const Case& c, torch::ScalarType type) {
  return {(torch::randn({c.rows, c.D}) * c.scale).to(type).requires_grad_(),
          (torch::randn({c.V, c.D}) / std::sqrt(static_cast<double>(c.D))).requires_grad_(),
          torch::randint(c.V, {c.rows}, torch::kInt64)};
}

Tensor fp64(const Tensor& x) { return x.detach().to(torch::kFloat64); }

void expect_match(const Input& in, double value_tolerance, double gradient_tolerance) {
  // bf16 products see the weight rounded; all else is fp32.
  const auto h = fp64(in.h).requires_grad_(), weight = fp64(in.weight.to(in.h.scalar_type())).requires_grad_();
  const auto loss = linear_cross_entropy(in.h, in.weight, in.targets);
  const auto truth = linear_cross_entropy_reference(h, weight, in.targets);
  EXPECT_EQ(loss.scalar_type(), torch::kFloat32);
  EXPECT_TRUE(close(loss, truth, value_tolerance));
  const auto got = torch::autograd::grad({loss * 3}, {in.h, in.weight});
  const auto want = torch::autograd::grad({truth * 3}, {h, weight});
  EXPECT_EQ(got[0].scalar_type(), in.h.scalar_type());
  EXPECT_TRUE(close(got[0], want[0], gradient_tolerance));
  EXPECT_TRUE(close(got[1], want[1], gradient_tolerance));
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(identical(linear_cross_entropy(in.h, in.weight, in.targets), loss));
}

TEST_P(CrossEntropy, MatchesFp64) { expect_match(make_input(GetParam(), torch::kFloat32), 2e-6, 1e-5); }
TEST_P(CrossEntropy, Bf16MatchesFp64) { expect_match(make_input(GetParam(), torch::kBFloat16), 2e-6, 1e-2); }

// Blocks hold 256 rows for a large vocabulary, 1024 for a small one.
INSTANTIATE_TEST_SUITE_P(Sizes, CrossEntropy,
                         ::testing::Values(Case{"one_row", 1, 258, 16, 1}, Case{"bytes_two_blocks", 1300, 258, 33, 3},
                                           Case{"one_class", 5, 1, 7, 1}, Case{"words_three_blocks", 901, 5000, 32, 3},
                                           Case{"odd_vocabulary", 67, 515, 96, 1}, Case{"peaked", 300, 33, 64, 100}),
                         [](const auto& i) { return i.param.name; });

TEST(CrossEntropyProperties, LeadingAxesAreFlattened) {
  torch::manual_seed(11);
  const auto h = torch::randn({2, 5, 8}), weight = torch::randn({9, 8});
  const auto targets = torch::randint(9, {2, 5}, torch::kInt64);
  EXPECT_TRUE(identical(linear_cross_entropy(h, weight, targets),
                        linear_cross_entropy(h.reshape({10, 8}), weight, targets.reshape({10}))));
}

TEST(CrossEntropyProperties, ThreadsDoNotShow) {
  torch::manual_seed(12);
  const auto in = make_input({"", 700, 3001, 48, 2}, torch::kFloat32);
  const auto run = [&] {
    const auto loss = linear_cross_entropy(in.h, in.weight, in.targets);
    auto all = torch::autograd::grad({loss}, {in.h, in.weight});
    all.push_back(loss.detach());
    return all;
  };
  const auto first = run();
  const int threads = num_threads();
  set_num_threads(threads == 1 ? 3 : 1);
  const auto second = run();
  set_num_threads(threads);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(identical(first[i], second[i])) << i;
}

TEST(CrossEntropyProperties, FrozenWeightGetsNoGradient) {
  const auto h = torch::randn({4, 8}).requires_grad_();
  const auto weight = torch::randn({5, 8});
  linear_cross_entropy(h, weight, torch::zeros({4}, torch::kInt64)).backward();
  EXPECT_TRUE(h.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
}

TEST(CrossEntropyProperties, BadTargetIsNamed) {
  const auto h = torch::randn({4, 8}), weight = torch::randn({258, 8});
  for (const int64_t bad : {258, -1}) {
    const auto targets = torch::tensor({int64_t{0}, int64_t{257}, bad, bad});
    try {
      linear_cross_entropy(h, weight, targets);
      FAIL() << "no error";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("target " + std::to_string(bad) + " at index 2"), std::string::npos) << message;
      EXPECT_NE(message.find("258)"), std::string::npos) << message;
    }
  }
  EXPECT_THROW(linear_cross_entropy(h, weight, torch::zeros({3}, torch::kInt64)), Error);
}

TEST(CrossEntropyProperties, NotANumberReachesTheLoss) {
  auto h = torch::zeros({3, 8});
  h[1][0] = NAN;
  EXPECT_TRUE(
      torch::isnan(linear_cross_entropy(h, torch::ones({20, 8}), torch::zeros({3}, torch::kInt64))).item<bool>());
}

}  // namespace
}  // namespace lt2
