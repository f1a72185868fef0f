// int8 and int4 weights times x in bf16 on the processor's units for bytes: the shared packing and blocks through
// emulated units everywhere, the units themselves where the processor has them.
#include "ops/simd/byte_unit.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"
#include "ops/linear/op.h"
#include "ops/swiglu/op.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::identical;
using torch::Tensor;

constexpr auto kInt8 = WeightFormat::kInt8, kInt4 = WeightFormat::kInt4;

Tensor bf16(at::IntArrayRef sizes) { return torch::randn(sizes).to(torch::kBFloat16); }
Tensor wide(const Tensor& t) { return t.to(torch::kFloat64); }

Linear packed(int64_t N, int64_t K, WeightFormat format) {
  WithoutWeights without;
  Linear linear(K, N);
  linear->pack(torch::randn({N, K}) / std::sqrt(static_cast<double>(K)), format);
  return linear;
}

// The fp32 product, whatever type y would have.
Tensor product(Linear& linear, const Tensor& x) {
  return linear->forward_add(x, torch::zeros({x.size(0), linear->weight.size(0)}));
}

// What the weights stand for, [N, K]: the plain fp32 path's products with single ones are exact.
Tensor numbers(Linear& linear) { return wide(linear(torch::eye(linear->weight.size(1)))).t(); }

// Every unit that can run here, real ones too.
std::vector<const ByteUnit*> units() {
  std::vector<const ByteUnit*> all{&kEmulatedVnni, &kEmulatedAmxBytes};
  if (cpu_info().avx512_vnni) all.push_back(vnni_unit());
  if (cpu_info().amx_int8) all.push_back(amx_byte_unit());
  return all;
}

struct ByteUnits : ::testing::TestWithParam<const ByteUnit*> {
  void SetUp() override {
    torch::manual_seed(5);
    byte_unit_force(GetParam());
  }
  void TearDown() override {
    byte_unit_reset();
    set_num_threads(allowed_cores());
  }
  torch::NoGradGuard no_grad;
};

// Edges of words (4, 8), steps (64), blocks (256) and of panels (16), tiles (6, 32 rows), many rows.
const std::vector<std::array<int64_t, 3>> kSizes{
    {1, 1, 1},    {1, 33, 31}, {2, 16, 64},   {3, 70, 65},   {4, 31, 3},    {5, 130, 256}, {6, 16, 257},   {7, 97, 130},
    {8, 64, 512}, {13, 48, 5}, {16, 15, 321}, {33, 64, 770}, {300, 33, 40}, {1, 1100, 7},  {40, 1060, 300}};

TEST_P(ByteUnits, IsRight) { EXPECT_TRUE(byte_unit_is_right(*GetParam())); }

TEST_P(ByteUnits, ProductsAreThoseOfTheirNumbers) {
  for (const auto& [M, N, K] : kSizes) {
    for (const auto format : {kInt8, kInt4}) {
      SCOPED_TRACE(fmt::format("M {} N {} K {} {}", M, N, K, format == kInt8 ? "int8" : "int4"));
      Linear linear = packed(N, K, format);
      const Tensor x = bf16({M, K}), residual = torch::randn({M, N}), weight = numbers(linear);
      // Of every block's largest 1 / 32640, about 2^-15, is lost at most; sums in fp32 lose 2^-24 a step.
      Tensor bound = torch::zeros({M, N}, torch::kFloat64);
      for (int64_t k = 0; k < K; k += kByteBlock) {
        const int64_t depth = std::min(kByteBlock, K - k);
        const Tensor most = wide(x).narrow(1, k, depth).abs().amax(1, true);
        bound += most * weight.narrow(1, k, depth).abs().sum(1) * std::ldexp(1., -15);
      }
      bound += wide(x).abs().matmul(weight.abs().t()) * std::ldexp(1., -20) + 1e-30;
      const Tensor truth = wide(x).matmul(weight.t());
      EXPECT_LE(((wide(product(linear, x)) - truth).abs() / bound).max().item<double>(), 1);
      // On an average far less: bf16 numbers near a block's largest lose nothing.
      if (K >= 64) {
        EXPECT_LT(((wide(product(linear, x)) - truth).norm() / truth.norm()).item<double>(), 2e-5);
      }
      const Tensor y = linear(x), gate = bf16({M, N});
      EXPECT_TRUE(identical(linear->forward_add(x, residual), residual + product(linear, x)));
      EXPECT_TRUE(identical(y, product(linear, x).to(torch::kBFloat16)));
      EXPECT_TRUE(identical(linear->forward_gated(x, gate), swiglu(gate, y)));
    }
  }
}

TEST_P(ByteUnits, SmallWholeNumbersAreExact) {
  // Products and sums that fp32 says exactly: both ways of multiplying give the same bits.
  for (const auto format : {kInt8, kInt4}) {
    const double unit = format == kInt8 ? 127 : 8;
    Tensor weight = torch::randint(-7, 8, {50, 330}).to(torch::kFloat32);
    for (int64_t k = 0; k < 330; k += 64) weight.select(1, k).fill_(unit);
    Linear linear(330, 50);
    linear->pack(weight, format);
    Tensor x = torch::randint(-128, 129, {9, 330}).to(torch::kBFloat16);
    x[3][7] = 255;  // all bits of the mantissa
    x[4][7] = -255;
    const Tensor on_unit = product(linear, x);
    byte_unit_force(nullptr);
    EXPECT_TRUE(identical(on_unit, product(linear, x)));
    EXPECT_TRUE(identical(wide(on_unit), wide(x).matmul(wide(weight).t())));
    byte_unit_force(GetParam());
  }
}

TEST_P(ByteUnits, SameBitsAsTheEmulation) {
  for (const auto& [M, N, K] : kSizes) {
    for (const auto format : {kInt8, kInt4}) {
      Linear linear = packed(N, K, format);
      const Tensor x = bf16({M, K}) * torch::exp2(torch::randint(-12, 12, {M, K})).to(torch::kBFloat16);
      const Tensor y = product(linear, x);
      byte_unit_force(&kEmulatedVnni);
      EXPECT_TRUE(identical(y, product(linear, x))) << M << " " << N << " " << K;
      byte_unit_force(GetParam());
    }
  }
}

TEST_P(ByteUnits, NeitherBatchNorThreadsNorNeighboursChangeABit) {
  for (const auto format : {kInt8, kInt4}) {
    Linear a = packed(70, 515, format), b = packed(5, 515, format);
    const Tensor x = bf16({130, 515}), residual = torch::randn({130, 70});
    const Tensor whole = a(x), sum = a->forward_add(x, residual);
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      for (const int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 17, 33, 130}) {
        const int64_t at = (130 - count) / 2;
        const auto both = linear_all(x.narrow(0, at, count), {&a, &b});
        EXPECT_TRUE(identical(both[0], whole.narrow(0, at, count))) << count;
        EXPECT_TRUE(identical(both[1], b(x.narrow(0, at, count)))) << count;
        EXPECT_TRUE(
            identical(a->forward_add(x.narrow(0, at, count), residual.narrow(0, at, count)), sum.narrow(0, at, count)))
            << count;
      }
    }
  }
}

TEST_P(ByteUnits, ManyRowsInBlocks) {
  // More rows than one thread's block holds at this depth, and than all threads' blocks together.
  for (const auto format : {kInt8, kInt4}) {
    Linear linear = packed(3, 3000, format);
    const Tensor x = bf16({700, 3000}), whole = linear(x);
    for (const int threads : {1, 7}) {
      set_num_threads(threads);
      EXPECT_TRUE(identical(linear(x), whole));
    }
    EXPECT_TRUE(identical(linear(x.narrow(0, 698, 2)), whole.narrow(0, 698, 2)));
  }
}

TEST_P(ByteUnits, OddNumbersInX) {
  for (const auto format : {kInt8, kInt4}) {
    Linear linear = packed(50, 600, format);
    const Tensor zeros = torch::zeros({1, 600}, torch::kBFloat16);
    EXPECT_TRUE(identical(product(linear, zeros), torch::zeros({1, 50})));
    for (const float odd : {NAN, INFINITY, -INFINITY}) {
      Tensor x = bf16({9, 600});
      const Tensor before = linear(x);
      x[4][599] = odd;
      const Tensor y = linear(x);
      EXPECT_TRUE(y[4].isnan().all().item<bool>()) << odd;
      EXPECT_TRUE(identical(y.narrow(0, 0, 4), before.narrow(0, 0, 4)));
      EXPECT_TRUE(identical(y.narrow(0, 5, 4), before.narrow(0, 5, 4)));
    }
    // From numbers that vanish to the largest ones, by powers of two: nothing but the exponent changes.
    const Tensor x = bf16({3, 600}), y = product(linear, x);
    for (const int power : {-90, -40, 40, 100}) {
      const Tensor scaled = (x.to(torch::kFloat32) * std::ldexp(1.f, power)).to(torch::kBFloat16);
      EXPECT_TRUE(identical(product(linear, scaled), y * std::ldexp(1.f, power))) << power;
    }
    const Tensor tiny = torch::full({1, 600}, 1e-39f).to(torch::kBFloat16);
    EXPECT_TRUE(product(linear, tiny).isfinite().all().item<bool>());
    const Tensor huge = torch::full({1, 600}, 3e38f).to(torch::kBFloat16);
    EXPECT_FALSE(product(linear, huge).isnan().any().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(Units, ByteUnits, ::testing::ValuesIn(units()), [](const auto& unit) {
  std::string name;
  for (const char* c = unit.param->name; *c != 0; ++c) {
    if (std::isalnum(static_cast<unsigned char>(*c))) name += *c;
  }
  return name;
});

TEST(ByteUnit, WrongProductsAreRefused) {
  // One row too high: what a mistaken tile shape does.
  ByteUnit broken = kEmulatedVnni;
  broken.multiply = [](const ByteBlock& block) {
    kEmulatedVnni.multiply(block);
    block.c[block.ldc * (block.rows - 1) + 3] += 1;
  };
  EXPECT_FALSE(byte_unit_is_right(broken));
}

TEST(ByteUnit, ServesBf16Only) {
  torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  Linear linear = packed(33, 70, kInt4);
  const Tensor x = torch::randn({3, 70});
  ByteUnit broken = kEmulatedVnni;
  broken.multiply = [](const ByteBlock&) { FAIL() << "x in fp32 on the unit"; };
  byte_unit_force(&broken);
  const Tensor y = linear(x);
  byte_unit_force(nullptr);
  EXPECT_TRUE(identical(y, linear(x)));
  byte_unit_reset();
}

}  // namespace
}  // namespace lt2
