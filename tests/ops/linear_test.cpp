#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "ops/linear/kernel.h"
#include "ops/linear/op.h"
#include "ops/swiglu/op.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;
using torch::Tensor;

struct Case {
  int64_t M, N, K;
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << "M" << c.M << "_N" << c.N << "_K" << c.K; }

Linear make_linear(int64_t in, int64_t out) {
  Linear linear(in, out);
  torch::NoGradGuard no_grad;
  linear->weight.normal_(0, 1 / std::sqrt(static_cast<double>(in)));
  return linear;
}

Tensor as_bf16(const Tensor& x) { return x.to(torch::kBFloat16); }
Tensor rounded(const Tensor& x) { return as_bf16(x).to(torch::kFloat32); }

class LinearShapes : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::manual_seed(7); }
};

TEST_P(LinearShapes, MatchesReference) {
  torch::NoGradGuard no_grad;
  const auto [M, N, K] = GetParam();
  Linear linear = make_linear(K, N);
  const Tensor x = torch::randn({M, K}), residual = torch::randn({M, N});
  const Tensor truth = linear_reference(x.to(torch::kFloat64), linear->weight.to(torch::kFloat64));
  EXPECT_TRUE(close(linear(x), truth, 2e-6));
  EXPECT_TRUE(close(linear->forward_add(x, residual), truth + residual, 2e-6));
}

TEST_P(LinearShapes, Bf16MatchesRoundedOperands) {
  torch::NoGradGuard no_grad;
  const auto [M, N, K] = GetParam();
  Linear linear = make_linear(K, N);
  const Tensor x = as_bf16(torch::randn({M, K})), residual = torch::randn({M, N});
  const Tensor truth = linear_reference(x.to(torch::kFloat64), rounded(linear->weight).to(torch::kFloat64));
  const Tensor y = linear(x);
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(close(y, truth, 4e-3));
  const Tensor sum = linear->forward_add(x, residual);
  EXPECT_EQ(sum.scalar_type(), torch::kFloat32);
  EXPECT_TRUE(close(sum, truth + residual, 2e-6));
  // Rounded once, at the end: what bf16 returns is the rounded fp32 sum.
  EXPECT_TRUE(identical(y, as_bf16(linear->forward_add(x, torch::zeros({M, N})))));
}

TEST_P(LinearShapes, GradientsMatchReference) {
  const auto [M, N, K] = GetParam();
  Linear linear = make_linear(K, N);
  for (const bool bf16 : {false, true}) {
    const auto in = [&](std::initializer_list<int64_t> sizes) {
      const Tensor t = torch::randn(sizes);
      return bf16 ? rounded(t) : t;
    };
    const Tensor x = in({M, K}), residual = in({M, N}), dy = in({M, N}), w = linear->weight.detach();
    const auto type = bf16 ? torch::kBFloat16 : torch::kFloat32;

    const auto leaf = [](const Tensor& t, torch::Dtype dtype) {
      return t.to(dtype, /*non_blocking=*/false, /*copy=*/true).requires_grad_();
    };
    const Tensor x64 = leaf(x, torch::kFloat64), w64 = leaf(bf16 ? rounded(w) : w, torch::kFloat64);
    (linear_reference(x64, w64) * dy).sum().backward();

    const double tolerance = bf16 ? 4e-3 : 3e-6;
    const Tensor x1 = leaf(x, type), x2 = leaf(x, type), r = leaf(residual, torch::kFloat32);
    linear->zero_grad();
    linear(x1).backward(dy.to(type));
    EXPECT_EQ(x1.grad().scalar_type(), type);
    EXPECT_EQ(linear->weight.grad().scalar_type(), torch::kFloat32);
    EXPECT_TRUE(close(x1.grad(), x64.grad(), tolerance));
    EXPECT_TRUE(close(linear->weight.grad(), w64.grad(), 3e-6));

    linear->weight.mutable_grad() = Tensor();
    linear->forward_add(x2, r).backward(dy);
    EXPECT_TRUE(close(x2.grad(), x64.grad(), tolerance));
    EXPECT_TRUE(close(linear->weight.grad(), w64.grad(), 3e-6));
    EXPECT_TRUE(identical(r.grad(), dy));
  }
}

TEST_P(LinearShapes, GatedIsSwigluOfTheProductBitForBit) {
  const auto [M, N, K] = GetParam();
  Linear up = make_linear(K, N), gate = make_linear(K, N);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto leaf = [](const Tensor& t) { return t.detach().clone().requires_grad_(); };
    const Tensor x = torch::randn({M, K}).to(type), a = torch::randn({M, N}).to(type);
    const Tensor x1 = leaf(x), a1 = leaf(a), x2 = leaf(x), a2 = leaf(a), dy = torch::randn({M, N}).to(type);
    const Tensor fused = up->forward_gated(x1, a1), separate = swiglu(a2, up(x2));
    EXPECT_TRUE(identical(fused, separate));
    up->zero_grad();
    fused.backward(dy);
    const Tensor dw = up->weight.grad().clone();
    up->zero_grad();
    separate.backward(dy);
    EXPECT_TRUE(identical(x1.grad(), x2.grad()));
    EXPECT_TRUE(identical(a1.grad(), a2.grad()));
    EXPECT_TRUE(identical(dw, up->weight.grad()));
    torch::NoGradGuard no_grad;
    EXPECT_TRUE(identical(linear_swiglu(x, gate, up), swiglu(gate(x), up(x))));
  }
}

// Edges of vectors (8, 16), tiles (4, 8 rows; 24, 48 columns), blocks (256), tasks (21 panels), slices (2048) of
// products that pack beforehand (from 513 rows on; bf16 results up to a depth of 4096).
INSTANTIATE_TEST_SUITE_P(Sizes, LinearShapes,
                         ::testing::Values(Case{1, 1, 1}, Case{1, 2, 7}, Case{2, 7, 17}, Case{1, 48, 48},
                                           Case{3, 49, 65}, Case{1, 1025, 130}, Case{4, 97, 300}, Case{7, 130, 257},
                                           Case{8, 65, 512}, Case{9, 24, 49}, Case{17, 17, 2}, Case{48, 130, 65},
                                           Case{49, 7, 130}, Case{65, 49, 700}, Case{130, 1, 48}, Case{257, 65, 513},
                                           Case{300, 1100, 130}, Case{521, 193, 49}, Case{2100, 520, 33},
                                           Case{520, 2100, 33}, Case{513, 4200, 17}),
                         [](const auto& i) {
                           std::ostringstream name;
                           name << i.param;
                           return name.str();
                         });

struct LinearOp : ::testing::Test {
  void SetUp() override { torch::manual_seed(11); }
  void TearDown() override { set_num_threads(allowed_cores()); }
};

TEST_F(LinearOp, RowsDoNotDependOnTheirBatch) {
  torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    Linear linear = make_linear(515, 131);
    const Tensor x = torch::randn({300, 515}).to(type), residual = torch::randn({300, 131});
    const Tensor whole = linear(x), sum = linear->forward_add(x, residual);
    for (const int64_t count : {1, 2, 5, 8, 9, 31, 100}) {
      const int64_t at = 300 - count - 3;
      EXPECT_TRUE(identical(linear(x.narrow(0, at, count)), whole.narrow(0, at, count))) << count << " rows";
      EXPECT_TRUE(identical(linear->forward_add(x.narrow(0, at, count), residual.narrow(0, at, count)),
                            sum.narrow(0, at, count)))
          << count << " rows";
    }
  }
}

TEST_F(LinearOp, ThreadsDoNotChangeABit) {
  for (const int64_t M : {1, 6, 200, 600}) {
    Linear linear = make_linear(333, 1201);
    const Tensor x = torch::randn({M, 333}), dy = torch::randn({M, 1201});
    std::vector<std::vector<Tensor>> results;
    for (const int threads : {1, 2, 3, 7}) {
      set_num_threads(threads);
      const Tensor leaf = x.detach().clone().requires_grad_();
      linear->weight.mutable_grad() = Tensor();
      const Tensor y = linear(leaf);
      y.backward(dy);
      results.push_back({y, leaf.grad(), linear->weight.grad()});
    }
    for (const auto& r : results) {
      for (size_t i = 0; i < r.size(); ++i) EXPECT_TRUE(identical(r[i], results[0][i])) << "M " << M << " result " << i;
    }
  }
}

TEST_F(LinearOp, ChangedWeightIsPackedAgain) {
  Linear linear = make_linear(70, 50);
  const Tensor x = torch::randn({3, 70});
  const auto expect_current = [&] {
    torch::NoGradGuard no_grad;
    EXPECT_TRUE(close(linear(x), linear_reference(x, linear->weight), 2e-6));
    EXPECT_TRUE(close(linear(as_bf16(x)), linear_reference(rounded(x), rounded(linear->weight)), 4e-3));
  };
  expect_current();
  {
    torch::NoGradGuard no_grad;
    linear->weight.mul_(2);
  }
  expect_current();
  {
    torch::NoGradGuard no_grad;
    linear->weight.view({-1}).narrow(0, 0, 10).zero_();  // through a view
  }
  expect_current();
  linear->weight.set_data(torch::randn({50, 70}));
  expect_current();
  {
    torch::InferenceMode inference;
    expect_current();
    linear->weight.add_(1);
    expect_current();
  }
}

TEST_F(LinearOp, WeightMadeInInferenceModeIsFollowed) {
  torch::InferenceMode inference;
  Linear linear = make_linear(20, 30);
  const Tensor x = torch::randn({4, 20});
  EXPECT_TRUE(close(linear(x), linear_reference(x, linear->weight), 2e-6));
  linear->weight.mul_(-3);
  EXPECT_TRUE(close(linear(x), linear_reference(x, linear->weight), 2e-6));
}

TEST_F(LinearOp, FreeFunctionKeepsItsCache) {
  torch::NoGradGuard no_grad;
  const Tensor weight = torch::randn({100, 40}), x = torch::randn({2, 3, 40});
  std::shared_ptr<PackCache> cache;
  const Tensor y = lt2::linear(x, weight, &cache);
  EXPECT_NE(cache, nullptr);
  EXPECT_EQ(y.sizes(), torch::IntArrayRef({2, 3, 100}));
  EXPECT_TRUE(identical(y, lt2::linear(x, weight)));
  EXPECT_TRUE(identical(y, lt2::linear(x, weight, &cache)));
  weight.mul_(2);
  EXPECT_TRUE(close(lt2::linear(x, weight, &cache), 2 * y, 1e-6));
}

TEST_F(LinearOp, AnyStrides) {
  torch::NoGradGuard no_grad;
  Linear linear = make_linear(40, 24);
  const Tensor x = torch::randn({40, 5, 6}).permute({2, 1, 0}), residual = torch::randn({5, 6, 24}).transpose(0, 1);
  EXPECT_TRUE(identical(linear(x), linear(x.contiguous())));
  EXPECT_TRUE(identical(linear->forward_add(x, residual), linear->forward_add(x.contiguous(), residual.contiguous())));
  const Tensor transposed = torch::randn({40, 24}).t();
  EXPECT_TRUE(identical(lt2::linear(x, transposed), lt2::linear(x, transposed.contiguous())));
}

TEST_F(LinearOp, NoGraphWhereNoneIsAsked) {
  Linear linear = make_linear(8, 8);
  const Tensor x = torch::randn({2, 8});
  EXPECT_TRUE(linear(x).requires_grad());
  linear->weight.requires_grad_(false);
  EXPECT_FALSE(linear(x).requires_grad());
  const Tensor leaf = torch::randn({2, 8}).requires_grad_();
  linear(leaf).sum().backward();
  EXPECT_TRUE(leaf.grad().defined());
  EXPECT_FALSE(linear->weight.grad().defined());
  torch::NoGradGuard no_grad;
  EXPECT_FALSE(linear(leaf).requires_grad());
}

TEST_F(LinearOp, OtherTypesTakeTheReference) {
  Linear linear = make_linear(9, 5);
  linear->to(torch::kFloat64);
  const Tensor x = torch::randn({3, 9}, torch::kFloat64), residual = torch::randn({3, 5}, torch::kFloat64);
  EXPECT_TRUE(identical(linear(x), linear_reference(x, linear->weight)));
  EXPECT_TRUE(close(linear->forward_add(x, residual), residual + linear_reference(x, linear->weight), 1e-15));
}

TEST_F(LinearOp, GateOfAnotherShapeIsAnError) {
  Linear linear = make_linear(8, 5);
  EXPECT_THROW(linear->forward_gated(torch::randn({3, 8}), torch::randn({3, 4})), Error);
  const Tensor x = torch::randn({3, 8}, torch::kFloat64), gate = torch::randn({3, 5}, torch::kFloat64);
  linear->to(torch::kFloat64);
  EXPECT_TRUE(identical(linear->forward_gated(x, gate), swiglu_reference(gate, linear(x))));
}

TEST_F(LinearOp, TogetherAsAlone) {
  Linear a = make_linear(130, 131), b = make_linear(130, 5), c = make_linear(130, 1100);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t M : {1, 3, 8, 9, 70}) {
      const Tensor x = torch::randn({M, 130}).to(type);
      torch::NoGradGuard no_grad;
      const auto all = linear_all(x, {&a, &b, &c});
      EXPECT_TRUE(identical(all[0], a(x)));
      EXPECT_TRUE(identical(all[1], b(x)));
      EXPECT_TRUE(identical(all[2], c(x)));
    }
  }
  const auto leaf = torch::randn({2, 130}).requires_grad_();
  const auto two = linear_all(leaf, {&a, &b});
  (two[0].sum() + two[1].sum()).backward();
  EXPECT_TRUE(close(leaf.grad(), (a->weight.detach().sum(0) + b->weight.detach().sum(0)).expand({2, 130}), 1e-5));
  torch::NoGradGuard no_grad;
  EXPECT_THROW(linear_all(torch::randn({2, 129}), {&a, &b}), Error);
  EXPECT_TRUE(linear_all(leaf, {}).empty());
}

TEST_F(LinearOp, WeightGradientAddsToWhatIsThere) {
  for (const int64_t M : {5, 600, 4200}) {
    const Tensor x = torch::randn({M, 30}), dy = torch::randn({M, 50}), before = torch::randn({50, 30});
    Tensor dw = before.clone();
    linear_backward_weight(
        {M, 50, 30, {dy.data_ptr(), Element::kF32, 50}, {x.data_ptr(), Element::kF32, 30}, dw.data_ptr<float>(), true});
    const Tensor truth = before + dy.to(torch::kFloat64).t().matmul(x.to(torch::kFloat64));
    EXPECT_TRUE(close(dw, truth, 1e-5)) << M;
  }
}

TEST_F(LinearOp, NoRows) {
  Linear linear = make_linear(9, 5);
  EXPECT_EQ(linear(torch::empty({0, 9})).sizes(), torch::IntArrayRef({0, 5}));
}

TEST_F(LinearOp, NotANumberStaysOne) {
  torch::NoGradGuard no_grad;
  Linear linear = make_linear(33, 50);
  Tensor x = torch::randn({40, 33});
  x[17][32] = NAN;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const Tensor y = linear(x.to(type));
    EXPECT_TRUE(y[17].isnan().all().item<bool>());
    EXPECT_EQ(y.isnan().sum().item<int64_t>(), 50);
  }
}

TEST_F(LinearOp, WrongShapesSaySo) {
  Linear linear = make_linear(9, 5);
  EXPECT_THROW(linear(torch::randn({3, 8})), Error);
  EXPECT_THROW(linear->forward_add(torch::randn({3, 9}), torch::randn({3, 9})), Error);
}

}  // namespace
}  // namespace lt2
