// exp, sigmoid, log and the bf16 rounding of ops/simd, for every instruction set this machine has.
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/ops/simd_math_test.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

void apply(char function, const float* x, float* y, int64_t n) {
  for_each_vector(n, [&](int64_t i, auto part) HWY_ATTR {
    const VF v = load(x + i, part);
    store(function == 'e' ? exp(v) : function == 's' ? sigmoid(v) : log(v), y + i, part);
  });
}

void narrow(const float* x, uint16_t* y, int64_t n) {
  for_each_vector(n, [&](int64_t i, auto part) HWY_ATTR { store(load(x + i, part), y + i, part); });
}

void widen(const uint16_t* x, float* y, int64_t n) {
  for_each_vector(n, [&](int64_t i, auto part) HWY_ATTR { store(load(x + i, part), y + i, part); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace lt2 {
HWY_EXPORT(apply);
HWY_EXPORT(narrow);
HWY_EXPORT(widen);

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Runs `body` once per instruction set that was compiled and that this machine has.
void for_each_target(const std::function<void()>& body) {
  for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(hwy::TargetName(target));
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

void expect_relative(char function, const std::vector<float>& x, double (*truth)(double), double tolerance) {
  std::vector<float> y(x.size());
  HWY_DYNAMIC_DISPATCH(apply)(function, x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  float at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = truth(x[i]);
    const double error = expected == 0 ? std::abs(y[i]) : std::abs(y[i] - expected) / std::abs(expected);
    if (!(error <= worst)) worst = error, at = x[i];
  }
  EXPECT_LE(worst, tolerance) << function << " at " << at;
}

std::vector<float> steps(double from, double to, int count) {
  std::vector<float> x;
  for (int i = 0; i <= count; ++i) x.push_back(static_cast<float>(from + (to - from) * i / count));
  return x;
}

double sigmoid_truth(double x) { return 1 / (1 + std::exp(-x)); }

TEST(SimdMath, WithinThreeTenMillionths) {
  for_each_target([] {
    expect_relative('e', steps(-87.3, 88.72, 400001), std::exp, 3e-7);
    expect_relative('e', steps(-1e-3, 1e-3, 20001), std::exp, 3e-7);
    expect_relative('s', steps(-87.3, 100, 400001), sigmoid_truth, 3e-7);
    std::vector<float> x = steps(0.5, 2, 200001);
    for (double v = 2e-38; v < 3e38; v *= 1.0007) x.push_back(static_cast<float>(v));
    expect_relative('l', x, std::log, 3e-7);
  });
}

TEST(SimdMath, FarAwayAndNotANumber) {
  for_each_target([] {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> x = {89, 1e4, 3e9, 3e38f, kInfinity, -105, -1e4, -3e9, -3e38f, -kInfinity, nan, 0};
    std::vector<float> y(x.size());
    const auto run = [&](char function) {
      HWY_DYNAMIC_DISPATCH(apply)(function, x.data(), y.data(), static_cast<int64_t>(x.size()));
    };
    run('e');
    for (int i = 0; i < 5; ++i) EXPECT_EQ(y[i], kInfinity) << x[i];
    for (int i = 5; i < 10; ++i) EXPECT_EQ(y[i], 0) << x[i];
    EXPECT_TRUE(std::isnan(y[10]));
    EXPECT_EQ(y[11], 1);
    run('s');
    for (int i = 0; i < 5; ++i) EXPECT_EQ(y[i], 1) << x[i];
    for (int i = 5; i < 10; ++i) EXPECT_LE(y[i], 1e-37f) << x[i];
    EXPECT_TRUE(std::isnan(y[10]));
    run('l');
    EXPECT_EQ(y[4], kInfinity);
    for (int i = 5; i < 11; ++i) EXPECT_TRUE(std::isnan(y[i])) << x[i];
    EXPECT_EQ(y[11], -kInfinity);
  });
}

TEST(SimdIo, RoundsToNearestEvenAndWidensExactly) {
  for_each_target([] {
    // bf16 numbers near 1 are 2^-7 apart.
    const float step = 1.0f / 128;
    const std::vector<float> x = {1,
                                  1 + step / 2,
                                  1 + step * 1.5f,
                                  1 + step * 0.51f,
                                  -1 - step * 1.5f,
                                  3.4e38f,
                                  kInfinity,
                                  std::numeric_limits<float>::quiet_NaN(),
                                  0,
                                  -0.0f,
                                  1.5f};
    const std::vector<float> expected = {1, 1, 1 + 2 * step, 1 + step, -1 - 2 * step, kInfinity, kInfinity,
                                         0, 0, -0.0f,        1.5f};
    for (size_t n = 1; n <= x.size(); ++n) {
      std::vector<uint16_t> narrowed(x.size(), 0xabcd);
      std::vector<float> y(x.size(), -7);
      HWY_DYNAMIC_DISPATCH(narrow)(x.data(), narrowed.data(), static_cast<int64_t>(n));
      HWY_DYNAMIC_DISPATCH(widen)(narrowed.data(), y.data(), static_cast<int64_t>(n));
      for (size_t i = 0; i < x.size(); ++i) {
        if (i >= n) {
          EXPECT_EQ(narrowed[i], 0xabcd);
          EXPECT_EQ(y[i], -7);
        } else if (std::isnan(x[i])) {
          EXPECT_TRUE(std::isnan(y[i]));
        } else {
          EXPECT_EQ(y[i], expected[i]) << x[i];
        }
      }
    }
  });
}

}  // namespace
}  // namespace lt2
#endif
