#include "ops/index_topk/op.h"

#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "ops/index_loss/op.h"
#include "ops/index_topk/select_largest.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

std::vector<int32_t> largest(const std::vector<float>& scores, int64_t count) {
  std::vector<int32_t> out(scores.size());
  out.resize(
      static_cast<size_t>(select_largest(scores.data(), static_cast<int64_t>(scores.size()), count, out.data())));
  return out;
}

TEST(SelectLargest, TiesSignsInfinitiesAndNan) {
  using Indices = std::vector<int32_t>;
  EXPECT_EQ(largest({1, 3, 2}, 2), (Indices{1, 2}));
  EXPECT_EQ(largest({0, 0, 0, 0}, 2), (Indices{0, 1}));
  EXPECT_EQ(largest({-0.0f, 0, -0.0f}, 2), (Indices{0, 1}));
  EXPECT_EQ(largest({-1, -3, -2}, 2), (Indices{0, 2}));
  EXPECT_EQ(largest({-INFINITY, NAN, INFINITY, -5}, 3), (Indices{0, 2, 3}));
  EXPECT_EQ(largest({NAN, NAN, NAN}, 1), (Indices{0}));
  EXPECT_EQ(largest({5, 4}, 9), (Indices{0, 1}));
  EXPECT_TRUE(largest({}, 3).empty());
}

struct Case {
  int64_t B, L, S, J, F, count;
  bool weighted;
};

class IndexTopk : public ::testing::TestWithParam<Case> {
 protected:
  /// Small integers: scores are exact in every type, and ties abound.
  IndexTopkInput inputs() const {
    const auto& c = GetParam();
    torch::manual_seed(11);
    const auto numbers = [](std::vector<int64_t> sizes) { return torch::randint(-2, 3, sizes).to(torch::kFloat32); };
    return {.q = numbers({c.B, c.L, c.J, c.F}),
            .k = numbers({c.B, c.S, c.F}),
            .weights = c.weighted ? numbers({c.B, c.L, c.J}) : torch::Tensor(),
            .count = c.count};
  }
};

TEST_P(IndexTopk, KernelMatchesSorting) {
  auto in = inputs();
  const auto expected = index_topk_reference(in);
  EXPECT_TRUE(torch::equal(index_topk(in), expected));
  auto other = in;
  other.q = in.q.to(torch::kBFloat16);
  other.k = in.k.to(torch::kBFloat16);
  EXPECT_TRUE(torch::equal(index_topk(other), expected));
  other.q = in.q.to(torch::kFloat64);
  other.k = in.k.to(torch::kFloat64);
  EXPECT_TRUE(torch::equal(index_topk(other), expected));
}

TEST_P(IndexTopk, EveryRowIsItsOwn) {
  auto in = inputs();
  in.q = in.q + 0.1 * torch::randn_like(in.q);  // sums that round: their order would show
  const auto whole = index_topk(in);
  const int64_t L = in.q.size(1), S = in.k.size(1), threads = num_threads();
  for (int64_t l = 0; l < L; l += 5) {
    auto one = in;
    one.q = in.q.narrow(1, l, 1);
    one.k = in.k.narrow(1, 0, S - L + l + 1);
    if (one.weights.defined()) one.weights = in.weights.narrow(1, l, 1);
    const auto got = index_topk(one);
    ASSERT_TRUE(torch::equal(got, whole.narrow(1, l, 1).narrow(2, 0, got.size(2)))) << l;
  }
  set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_TRUE(torch::equal(index_topk(in), whole));
  set_num_threads(static_cast<int>(threads));
}

INSTANTIATE_TEST_SUITE_P(Shapes, IndexTopk,
                         ::testing::Values(Case{2, 70, 70, 4, 8, 6, false}, Case{2, 70, 70, 3, 8, 6, true},
                                           Case{1, 20, 20, 2, 5, 64, true},  // more slots than keys
                                           Case{1, 50, 50, 1, 3, 1, true},   // one slot
                                           Case{3, 1, 300, 4, 17, 40, true}, Case{1, 1, 1, 2, 4, 3, false},
                                           Case{1, 33, 400, 2, 16, 100, false}));

TEST(IndexTopk, WrongInputIsAnError) {
  const auto q = torch::zeros({1, 3, 2, 4});
  EXPECT_THROW(index_topk({.q = q, .k = torch::zeros({1, 2, 4}), .weights = {}}), Error);
  EXPECT_THROW(index_topk({.q = q, .k = torch::zeros({1, 3, 5}), .weights = {}}), Error);
  EXPECT_THROW(index_topk({.q = q, .k = torch::zeros({1, 3, 4}), .weights = {}, .count = 0}), Error);
  EXPECT_THROW(index_topk({.q = q, .k = torch::zeros({1, 3, 4}), .weights = torch::zeros({1, 3, 3})}), Error);
}

class IndexLossStage : public ::testing::TestWithParam<bool> {};

TEST_P(IndexLossStage, ValueAndGradientsMatchAutograd) {
  torch::manual_seed(5);
  const int64_t B = 2, L = 300;
  const auto random = [](std::vector<int64_t> sizes) { return torch::randn(sizes, torch::kFloat64); };
  IndexLossInput exact{.index = {.q = random({B, L, 3, 4}).requires_grad_(),
                                 .k = random({B, L, 4}).requires_grad_(),
                                 .weights = random({B, L, 3}).requires_grad_(),
                                 .count = 9},
                       .scale = 0.4};
  if (GetParam()) {
    exact.queries = random({B, L, 2, 6});
    exact.keys = random({B, L, 6});
  } else {
    exact.indices = index_topk(exact.index);
    exact.probabilities = torch::rand({B, L, 9}, torch::kFloat64) * (exact.indices >= 0);
    exact.probabilities = exact.probabilities / exact.probabilities.sum(-1, true);
  }
  auto fast = exact;
  for (auto* t : {&fast.index.q, &fast.index.k, &fast.index.weights})
    *t = t->detach().to(torch::kFloat32).requires_grad_();
  const auto expected = index_loss_reference(exact), actual = index_loss(fast);
  EXPECT_TRUE(test::close(actual, expected, 1e-5));
  (expected * 3).backward();
  (actual * 3).backward();
  EXPECT_TRUE(test::close(fast.index.q.grad(), exact.index.q.grad(), 1e-4));
  EXPECT_TRUE(test::close(fast.index.k.grad(), exact.index.k.grad(), 1e-4));
  EXPECT_TRUE(test::close(fast.index.weights.grad(), exact.index.weights.grad(), 1e-4));
}

INSTANTIATE_TEST_SUITE_P(Stages, IndexLossStage, ::testing::Bool(),
                         [](const auto& c) { return c.param ? "dense" : "sparse"; });

}  // namespace
}  // namespace lt2
