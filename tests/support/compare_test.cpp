// The comparators judge every kernel: each thing that they must see, alone.
#include "tests/support/compare.h"

#include <cmath>
#include <limits>

namespace lt2::test {
namespace {

const double kNan = std::nan(""), kInf = std::numeric_limits<double>::infinity();

torch::Tensor numbers() { return torch::arange(1, 13, torch::kFloat32).view({3, 4}); }
torch::Tensor with(torch::Tensor t, int64_t at, double value) {
  t = t.clone();
  t.view(-1)[at] = value;
  return t;
}
std::string said(const ::testing::AssertionResult& result) { return result.message(); }

TEST(Close, TakesWhatIsWithinTheBound) {
  const auto t = numbers();  // the largest is 12
  EXPECT_TRUE(close(t, t, 0));
  EXPECT_TRUE(close(with(t, 0, 1.012), t, 1.1e-3));
  EXPECT_FALSE(close(with(t, 0, 1.012), t, 0.9e-3));
  EXPECT_TRUE(close(torch::zeros({0, 4}), torch::ones({0, 4}), 0));
  // A truth of zeros has no scale: the bound is absolute.
  EXPECT_TRUE(close(torch::full({3}, 1e-6), torch::zeros({3}), 2e-6));
  EXPECT_FALSE(close(torch::full({3}, 1e-6), torch::zeros({3}), 0.5e-6));
}

TEST(Close, SeesTheShape) {
  const auto t = numbers();
  EXPECT_FALSE(close(t, t.view({4, 3}), 1));
  EXPECT_FALSE(close(t, t.view({1, 3, 4}), 1));
  EXPECT_FALSE(close(t[0], t, 1));
  EXPECT_FALSE(close(torch::ones({1}), torch::ones({}), 1));
  EXPECT_FALSE(close({}, t, 1));
  EXPECT_FALSE(close(t, {}, 1));
}

TEST(Close, NotANumberIsNearNothing) {
  const auto t = numbers();
  EXPECT_FALSE(close(with(t, 7, kNan), t, 1e30));
  EXPECT_FALSE(close(t, with(t, 7, kNan), 1e30));
  EXPECT_FALSE(close(with(t, 7, kNan), with(t, 7, kNan), 1e30));
  EXPECT_NE(said(close(with(t, 7, kNan), t, 1)).find("at flat index 7 "), std::string::npos);
}

TEST(Close, InfinityIsNearNothing) {
  const auto t = numbers();
  EXPECT_FALSE(close(with(t, 7, kInf), t, 1e30));
  EXPECT_FALSE(close(t, with(t, 7, kInf), 1e30));
  EXPECT_FALSE(close(with(t, 7, kInf), with(t, 7, kInf), 1e30));
  EXPECT_FALSE(close(with(t, 7, -kInf), with(t, 7, kInf), 1e30));
}

TEST(Close, SeesTheSign) {
  const auto t = numbers();
  EXPECT_FALSE(close(-t, t, 1));
  EXPECT_FALSE(close(with(t, 11, -12), t, 1.9));
  EXPECT_FALSE(close(t - 24, t, 1.9));  // too small everywhere, and never by more than what is allowed above
}

TEST(Close, SeesOneElementOfAMillion) {
  const auto truth = torch::ones({1000, 1000});
  for (const int64_t at : {0, 1, 123456, 999999}) {
    const auto result = close(with(truth, at, 1.001), truth, 5e-4);
    EXPECT_FALSE(result);
    EXPECT_NE(said(result).find("at flat index " + std::to_string(at) + " "), std::string::npos) << said(result);
  }
}

TEST(Close, ReadsEveryLayout) {
  const auto t = numbers(), transposed = t.t().contiguous().t();
  EXPECT_TRUE(close(transposed, t, 0));
  EXPECT_FALSE(close(with(t, 1, 3), transposed, 1e-3));
}

// Its contract: values count, types do not.
TEST(Close, ComparesValuesOfAnyType) {
  const auto t = numbers();
  EXPECT_TRUE(close(t.to(torch::kBFloat16), t, 0));
  EXPECT_TRUE(close(t.to(torch::kInt64), t.to(torch::kFloat64), 0));
  EXPECT_FALSE(close((t + 0.3).to(torch::kInt64), t + 0.3, 1e-3));
}

TEST(Identical, SeesShapeTypeAndEveryBit) {
  const auto t = numbers();
  EXPECT_TRUE(identical(t, t.clone()));
  EXPECT_TRUE(identical(t, t.t().contiguous().t()));
  EXPECT_TRUE(identical(torch::zeros({0, 4}), torch::zeros({0, 4})));
  EXPECT_FALSE(identical(t, t.view({4, 3})));
  EXPECT_FALSE(identical(torch::zeros({0, 4}), torch::zeros({4, 0})));
  EXPECT_FALSE(identical(t, t.to(torch::kFloat64)));
  EXPECT_FALSE(identical(torch::zeros({2}, torch::kInt32), torch::zeros({2}, torch::kFloat32)));  // the same bytes
  EXPECT_FALSE(identical({}, t));
  EXPECT_FALSE(identical(t, {}));
}

TEST(Identical, SeesTheLastBitOfOneElementOfAMillion) {
  const auto truth = torch::ones({1000, 1000});
  EXPECT_FALSE(identical(with(truth, 999999, std::nextafter(1.0f, 2.0f)), truth));
  EXPECT_FALSE(identical(with(truth, 0, -1), truth));
}

// Bits, not values: equal zeros of two signs differ, and a NaN is itself.
TEST(Identical, ComparesBits) {
  EXPECT_FALSE(identical(torch::full({2}, 0.0), torch::full({2}, -0.0)));
  EXPECT_TRUE(identical(torch::full({2}, kNan), torch::full({2}, kNan)));
  EXPECT_FALSE(identical(torch::full({2}, kNan), torch::full({2}, 1.0)));
  EXPECT_FALSE(identical(torch::full({2}, kInf), torch::full({2}, -kInf)));
}

}  // namespace
}  // namespace lt2::test
