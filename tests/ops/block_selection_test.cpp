#include "ops/block_selection/op.h"

#include "base/error.h"
#include "base/threads.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

struct Case {
  int64_t B, L, H, Hk, E, Ev, block_size, count;
};

class BlockSelections : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::manual_seed(7); }
  /// Inputs of the whole sequence in fp64, with means of random keys and values.
  BlockSelectionInput inputs(double spread = 1.0) const {
    const auto& c = GetParam();
    const auto numbers = [&](int64_t rows, int64_t heads, int64_t width) {
      return (torch::randn({c.B, rows, heads, width}) * spread).to(torch::kFloat64);
    };
    const int64_t N = c.L / c.block_size;
    return {.q = numbers(c.L, c.H, c.E),
            .k_mean = numbers(N, c.Hk, c.E),
            .v_mean = numbers(N, c.Hk, c.Ev),
            .first_position = 0,
            .block_size = c.block_size,
            .count = c.count,
            .scale = 0.7};
  }
  static BlockSelectionInput in_fp32(BlockSelectionInput in) {
    for (auto* t : {&in.q, &in.k_mean, &in.v_mean}) *t = t->detach().to(torch::kFloat32);
    return in;
  }
};

TEST_P(BlockSelections, KernelMatchesReference) {
  const auto in = inputs();
  const auto expected = block_selection_reference(in), actual = block_selection(in_fp32(in));
  EXPECT_TRUE(test::close(actual.o, expected.o, 2e-6));
  EXPECT_TRUE(torch::equal(actual.blocks, expected.blocks));
  const auto by_block = block_selection(in);  // fp64: the torch form
  EXPECT_TRUE(test::close(by_block.o, expected.o, 1e-12));
  EXPECT_TRUE(torch::equal(by_block.blocks, expected.blocks));
}

TEST_P(BlockSelections, GradientsMatchAutograd) {
  auto exact = inputs(), fast = in_fp32(exact);
  for (auto* in : {&exact, &fast}) {
    for (auto* t : {&in->q, &in->k_mean, &in->v_mean}) t->requires_grad_();
  }
  const auto expected = block_selection_reference(exact).o;
  const auto grad = torch::randn_like(expected);
  expected.backward(grad);
  const auto actual = block_selection(fast).o;
  ASSERT_TRUE(actual.requires_grad());
  actual.backward(grad.to(torch::kFloat32));
  EXPECT_TRUE(test::close(fast.q.grad(), exact.q.grad(), 1e-5));
  EXPECT_TRUE(test::close(fast.k_mean.grad(), exact.k_mean.grad(), 1e-5));
  EXPECT_TRUE(test::close(fast.v_mean.grad(), exact.v_mean.grad(), 1e-5));
}

TEST_P(BlockSelections, EqualsItselfInPiecesInOtherBatchesAndOnOtherThreads) {
  torch::NoGradGuard no_grad;
  const auto in = in_fp32(inputs());
  const auto whole = block_selection(in);
  const int64_t L = in.q.size(1), threads = num_threads();
  for (const int64_t piece : {int64_t{1}, int64_t{7}, int64_t{64}}) {
    for (int64_t begin = 0; begin < L; begin += piece) {
      const int64_t n = std::min(piece, L - begin);
      auto part = in;
      part.q = in.q.narrow(1, begin, n);
      part.first_position = begin;
      const auto got = block_selection(part);
      ASSERT_TRUE(test::identical(got.o, whole.o.narrow(1, begin, n))) << begin;
      const int64_t columns = got.blocks.size(3);
      ASSERT_TRUE(torch::equal(got.blocks, whole.blocks.narrow(1, begin, n).narrow(3, 0, columns))) << begin;
    }
  }
  auto alone = in;
  for (auto* t : {&alone.q, &alone.k_mean, &alone.v_mean}) *t = t->narrow(0, in.q.size(0) - 1, 1);
  EXPECT_TRUE(test::identical(block_selection(alone).o, whole.o.narrow(0, in.q.size(0) - 1, 1)));
  set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_TRUE(test::identical(block_selection(in).o, whole.o));
  set_num_threads(static_cast<int>(threads));
}

INSTANTIATE_TEST_SUITE_P(Shapes, BlockSelections,
                         ::testing::Values(Case{2, 45, 4, 1, 8, 8, 8, 4},      // partial last block
                                           Case{1, 130, 6, 2, 10, 6, 4, 5},    // heads in groups of 3, Ev != E
                                           Case{1, 30, 4, 1, 8, 8, 4, 2},      // fewer slots than forced blocks
                                           Case{1, 30, 4, 4, 8, 8, 4, 1},      // one slot
                                           Case{2, 11, 4, 1, 8, 8, 16, 4},     // no complete block
                                           Case{1, 1, 2, 1, 4, 4, 1, 3},       // one token that is a block
                                           Case{1, 70, 32, 1, 8, 8, 8, 16},    // more slots than blocks
                                           Case{2, 200, 3, 3, 17, 5, 1, 4}));  // blocks of one token

TEST(BlockSelection, EqualImportanceGoesToTheSmallerIndex) {
  // Equal means: every probability is the same, so only the tie rule decides.
  BlockSelectionInput in{.q = torch::ones({1, 40, 2, 4}),
                         .k_mean = torch::ones({1, 10, 1, 4}),
                         .v_mean = torch::ones({1, 10, 1, 4}),
                         .block_size = 4,
                         .count = 5};
  const auto last = block_selection(in).blocks[0][39][0];
  EXPECT_TRUE(torch::equal(last, torch::tensor({0, 1, 2, 8, 9}, torch::kInt32))) << last;
  EXPECT_TRUE(torch::equal(block_selection_reference(in).blocks[0][39][0], last));
}

TEST(BlockSelection, WrongInputIsAnError) {
  const auto means = torch::zeros({1, 2, 1, 4});
  EXPECT_THROW(block_selection({.q = torch::zeros({1, 12, 2, 4}), .k_mean = means, .v_mean = means, .block_size = 4}),
               Error);  // means of 2 of 3 complete blocks
  EXPECT_THROW(block_selection({.q = torch::zeros({1, 8, 2, 5}), .k_mean = means, .v_mean = means, .block_size = 4}),
               Error);
}

TEST(BlockMeans, MatchReferenceAndContinueBitForBit) {
  torch::manual_seed(3);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto x = torch::randn({2, 53, 3, 10}).to(type);
    for (const int64_t b : {1, 5, 53, 60}) {
      const auto whole = block_means(x, b);
      EXPECT_TRUE(test::close(whole, block_means_reference(x.to(torch::kFloat64), b), 1e-6));
      const auto sum = torch::zeros({2, 3, 10}), means = torch::zeros({2, 53 / b, 3, 10});
      for (int64_t begin = 0; begin < 53; begin += 4)
        extend_block_means(x.narrow(1, begin, std::min<int64_t>(4, 53 - begin)), begin, b, sum, means);
      EXPECT_TRUE(test::identical(means, whole)) << b;
    }
  }
}

TEST(BlockMeans, Gradient) {
  const auto x = torch::randn({2, 11, 3, 4}).requires_grad_(), y = x.detach().to(torch::kFloat64).requires_grad_();
  const auto grad = torch::randn({2, 2, 3, 4});
  block_means(x, 5).backward(grad);
  block_means_reference(y, 5).backward(grad.to(torch::kFloat64));
  EXPECT_TRUE(test::close(x.grad(), y.grad(), 1e-6));
}

}  // namespace
}  // namespace lt2
