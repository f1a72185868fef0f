// bf16 products on the processor's units: the shared packing and blocks through emulated units everywhere, the units
// themselves where the processor has them.
#include "ops/simd/tile_unit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/cpu.h"
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

Tensor bf16(at::IntArrayRef sizes) { return torch::randn(sizes).to(torch::kBFloat16); }
Tensor wide(const Tensor& t) { return t.to(torch::kFloat64); }

Linear make_linear(int64_t in, int64_t out) {
  Linear linear(in, out);
  torch::NoGradGuard no_grad;
  linear->weight.normal_(0, 1 / std::sqrt(static_cast<double>(in)));
  return linear;
}
Tensor rounded_weight(const Linear& linear) { return linear->weight.detach().to(torch::kBFloat16); }

TEST(TileUnits, EmulationIsRight) {
  EXPECT_TRUE(tile_unit_is_right(kEmulatedAmx));
  EXPECT_TRUE(tile_unit_is_right(kEmulatedAvx512Bf16));
}

TEST(TileUnits, WrongProductsAreRefused) {
  // One row too high: what a mistaken tile shape does.
  TileUnit broken = kEmulatedAmx;
  broken.multiply = [](const TileBlock& block) {
    kEmulatedAmx.multiply(block);
    block.c[block.ldc + 3] += 1;
  };
  EXPECT_FALSE(tile_unit_is_right(broken));
}

TEST(TileUnits, AmxIsRight) {
  if (!cpu_info().amx_bf16) GTEST_SKIP() << "no AMX here";
  EXPECT_TRUE(tile_unit_is_right(*amx_unit()));
}

TEST(TileUnits, Avx512Bf16IsRight) {
  if (!cpu_info().avx512_bf16) GTEST_SKIP() << "no AVX-512-BF16 here";
  EXPECT_TRUE(tile_unit_is_right(*avx512_bf16_unit()));
}

// Every unit that can run here, real ones too.
std::vector<const TileUnit*> units() {
  std::vector<const TileUnit*> all{&kEmulatedAmx, &kEmulatedAvx512Bf16};
  if (cpu_info().amx_bf16) all.push_back(amx_unit());
  if (cpu_info().avx512_bf16) all.push_back(avx512_bf16_unit());
  return all;
}

class TileLinear : public ::testing::TestWithParam<const TileUnit*> {
 protected:
  void SetUp() override {
    torch::manual_seed(5);
    tile_unit_force(GetParam());
  }
  void TearDown() override {
    tile_unit_reset();
    set_num_threads(allowed_cores());
  }
};

// Edges of steps (32), tiles (12, 16, 32 rows; 16, 32 columns), blocks (256 rows, 384 deep), tasks (32 panels).
const std::vector<std::array<int64_t, 3>> kSizes{{1, 1, 1},     {1, 33, 31},   {2, 16, 32},   {5, 31, 33},
                                                 {12, 32, 64},  {13, 48, 65},  {16, 65, 385}, {17, 100, 97},
                                                 {31, 7, 400},  {33, 64, 770}, {45, 129, 2},  {257, 40, 70},
                                                 {300, 33, 49}, {3, 1100, 40}, {40, 1060, 17}};

TEST_P(TileLinear, MatchesReference) {
  torch::NoGradGuard no_grad;
  for (const auto& [M, N, K] : kSizes) {
    Linear linear = make_linear(K, N);
    const Tensor x = bf16({M, K}), residual = torch::randn({M, N});
    const Tensor truth = linear_reference(wide(x), wide(rounded_weight(linear)));
    EXPECT_TRUE(close(linear->forward_add(x, residual), truth + residual, 3e-6)) << M << " " << N << " " << K;
    EXPECT_TRUE(close(linear(x), truth, 4e-3)) << M << " " << N << " " << K;
    EXPECT_TRUE(identical(linear(x), linear->forward_add(x, torch::zeros({M, N})).to(torch::kBFloat16)));
  }
}

TEST_P(TileLinear, GradientsMatchReference) {
  for (const auto& [M, N, K] : kSizes) {
    Linear linear = make_linear(K, N);
    const Tensor x = bf16({M, K}).requires_grad_(), dy = bf16({M, N});
    const Tensor w = rounded_weight(linear);
    linear(x).backward(dy);
    EXPECT_TRUE(close(x.grad(), wide(dy).matmul(wide(w)), 4e-3)) << M << " " << N << " " << K;
    const Tensor dw = wide(dy).t().matmul(wide(x.detach()));
    EXPECT_TRUE(close(linear->weight.grad(), dw, 3e-6)) << M << " " << N << " " << K;
  }
}

TEST_P(TileLinear, LongSumsOfTheWeightGradientGoOn) {
  const Tensor x = bf16({4133, 5}), dy = bf16({4133, 3});
  Tensor dw = torch::ones({3, 5});
  linear_backward_weight(
      {4133, 3, 5, {dy.data_ptr(), Element::kBf16, 3}, {x.data_ptr(), Element::kBf16, 5}, dw.data_ptr<float>(), true});
  EXPECT_TRUE(close(dw, wide(dy).t().matmul(wide(x)) + 1, 1e-5));
}

TEST_P(TileLinear, NeitherBatchNorThreadsChangeABit) {
  torch::NoGradGuard no_grad;
  Linear linear = make_linear(515, 131);
  const Tensor x = bf16({300, 515}), residual = torch::randn({300, 131});
  const Tensor whole = linear(x), sum = linear->forward_add(x, residual);
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    for (const int64_t count : {1, 2, 11, 12, 13, 16, 31, 100, 300}) {
      const int64_t at = (300 - count) / 2;
      EXPECT_TRUE(identical(linear(x.narrow(0, at, count)), whole.narrow(0, at, count))) << count;
      EXPECT_TRUE(identical(linear->forward_add(x.narrow(0, at, count), residual.narrow(0, at, count)),
                            sum.narrow(0, at, count)))
          << count;
    }
  }
}

TEST_P(TileLinear, GatedInTheEpilogue) {
  Linear linear = make_linear(70, 50);
  const Tensor x = bf16({37, 70}), gate = bf16({37, 50});
  EXPECT_TRUE(identical(linear->forward_gated(x, gate), swiglu(gate, linear(x))));
}

// The gradient behind a residual sum is fp32; the unit takes it rounded.
TEST_P(TileLinear, GradientOfASumIsThatOfItsRounding) {
  Linear linear = make_linear(70, 50);
  const Tensor x = bf16({37, 70}), dy = torch::randn({37, 50});
  const auto gradients = [&](bool sum) {
    const Tensor leaf = x.clone().requires_grad_();
    linear->zero_grad();
    sum ? linear->forward_add(leaf, torch::zeros({37, 50})).backward(dy)
        : linear(leaf).backward(dy.to(torch::kBFloat16));
    return std::make_pair(leaf.grad(), linear->weight.grad().clone());
  };
  const auto [dx, dw] = gradients(true);
  const auto [dx_rounded, dw_rounded] = gradients(false);
  EXPECT_TRUE(identical(dx, dx_rounded));
  EXPECT_TRUE(identical(dw, dw_rounded));
}

TEST_P(TileLinear, ChangedWeightOrUnitIsPackedAgain) {
  Linear linear = make_linear(70, 50);
  const Tensor x = bf16({3, 70}), dy = bf16({3, 50});
  const auto expect_current = [&] {
    const Tensor leaf = x.clone().requires_grad_();
    const Tensor y = linear(leaf), w = rounded_weight(linear);
    y.backward(dy);
    EXPECT_TRUE(close(y.detach(), linear_reference(wide(x), wide(w)), 4e-3));
    EXPECT_TRUE(close(leaf.grad(), wide(dy).matmul(wide(w)), 4e-3));
  };
  expect_current();
  {
    torch::NoGradGuard no_grad;
    linear->weight.mul_(-2);
  }
  expect_current();
  tile_unit_force(nullptr);
  expect_current();
  tile_unit_force(GetParam());
  expect_current();
}

TEST_P(TileLinear, TogetherAsAlone) {
  torch::NoGradGuard no_grad;
  Linear a = make_linear(40, 33), b = make_linear(40, 7);
  for (const int64_t M : {1, 40}) {
    const Tensor x = bf16({M, 40});
    const auto both = linear_all(x, {&a, &b});
    EXPECT_TRUE(identical(both[0], a(x)));
    EXPECT_TRUE(identical(both[1], b(x)));
  }
}

INSTANTIATE_TEST_SUITE_P(Units, TileLinear, ::testing::ValuesIn(units()), [](const auto& i) {
  std::string name = i.param->name;
  std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
  return name;
});

}  // namespace
}  // namespace lt2
