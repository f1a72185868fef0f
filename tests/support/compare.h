#pragma once
// How tests compare tensors. close(): values, near each other; the types may differ. identical(): shape, type and every
// bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/torch.h"

namespace lt2::test {

/// Passes when the shapes agree, all numbers of both are finite and max|a - b| <= tolerance * max|b| (absolute when b
/// is zero). Says where the largest error lies, both values, the error and the bound. Compares no types: both are taken
/// as fp64.
inline ::testing::AssertionResult close(const torch::Tensor& a, const torch::Tensor& b, double tolerance) {
  if (!a.defined() || !b.defined()) return ::testing::AssertionFailure() << "undefined tensor";
  if (a.sizes() != b.sizes()) return ::testing::AssertionFailure() << "shape " << a.sizes() << " against " << b.sizes();
  if (a.numel() == 0) return ::testing::AssertionSuccess();
  const auto x = a.detach().to(torch::kCPU, torch::kFloat64).reshape(-1),
             y = b.detach().to(torch::kCPU, torch::kFloat64).reshape(-1);
  const auto difference = (x - y).abs();
  const double scale = y.abs().max().item<double>();
  // A NaN anywhere makes the maximum NaN, and !(NaN <= bound) fails.
  const auto at = torch::isnan(difference).any().item<bool>()
                      ? torch::isnan(difference).to(torch::kInt).argmax().item<int64_t>()
                      : difference.argmax().item<int64_t>();
  const double error = difference[at].item<double>(), bound = tolerance * (scale > 0 ? scale : 1);
  if (error <= bound && std::isfinite(scale)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "at flat index " << at << " of " << a.sizes() << ": " << x[at].item<double>()
                                       << " against " << y[at].item<double>() << ", error " << error << " > " << bound
                                       << " (" << tolerance << " of " << scale << ")";
}

/// Passes when shapes, types and all bits agree: 0 differs from -0, and a NaN from another one's bits only.
inline ::testing::AssertionResult identical(const torch::Tensor& a, const torch::Tensor& b) {
  if (!a.defined() || !b.defined()) return ::testing::AssertionFailure() << "undefined tensor";
  if (a.sizes() != b.sizes() || a.dtype() != b.dtype()) return ::testing::AssertionFailure() << "shape or type differ";
  const auto x = a.detach().contiguous(), y = b.detach().contiguous();
  if (x.nbytes() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "bits differ, largest difference "
                                       << (x.to(torch::kFloat64) - y.to(torch::kFloat64)).abs().max().item<double>();
}

}  // namespace lt2::test
