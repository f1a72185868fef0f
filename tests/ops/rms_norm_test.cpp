#include "ops/rms_norm/op.h"

#include <gtest/gtest.h>

#include "base/threads.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;
using torch::Tensor;

constexpr double kEps = 1e-5;

struct Case {
  std::string name;
  int64_t rows, D;
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

class RmsNorm : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::manual_seed(2); }
};

Tensor fp64(const Tensor& x) { return x.detach().to(torch::kFloat64); }
std::vector<Tensor> fp64_leaves(const std::vector<Tensor>& x) {
  std::vector<Tensor> out;
  for (const auto& t : x) out.push_back(fp64(t).requires_grad_());
  return out;
}

// Compares y and the gradients of all inputs with the reference on fp64 copies of them.
template <class Op, class Reference>
void expect_match(const std::vector<Tensor>& inputs, Op&& op, Reference&& reference, double value_tolerance,
                  double gradient_tolerance) {
  const auto leaves = fp64_leaves(inputs);
  const auto y = op(inputs), truth = reference(leaves);
  EXPECT_TRUE(close(y, truth, value_tolerance));
  const auto dy = torch::randn(y.sizes()).to(y.scalar_type());
  const auto got = torch::autograd::grad({y}, inputs, {dy});
  const auto want = torch::autograd::grad({truth}, leaves, {fp64(dy)});
  for (size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE("gradient of input " + std::to_string(i));
    EXPECT_EQ(got[i].scalar_type(), inputs[i].scalar_type());
    EXPECT_TRUE(close(got[i], want[i], gradient_tolerance));
  }
}

// A leaf of `type` with rows of very different sizes.
Tensor leaf(at::IntArrayRef sizes, torch::ScalarType type = torch::kFloat32) {
  auto scale_sizes = sizes.vec();
  scale_sizes.back() = 1;
  return (torch::randn(sizes) * torch::exp(torch::randn(scale_sizes))).to(type).requires_grad_();
}

// One number always normalises to about +-1: its gradient is the difference of two nearly equal numbers.
double gradient_tolerance(int64_t rows, int64_t D) { return rows * D == 1 ? 1e-2 : 2e-5; }

TEST_P(RmsNorm, PlainMatchesFp64) {
  const auto [name, rows, D] = GetParam();
  expect_match(
      {leaf({rows, D}), (torch::rand({D}) + 0.5).requires_grad_()},
      [](const auto& in) { return rms_norm(in[0], in[1], kEps, torch::kFloat32); },
      [](const auto& in) { return rms_norm_reference(in[0], in[1], kEps, torch::kFloat64); }, 1e-6,
      gradient_tolerance(rows, D));
}

TEST_P(RmsNorm, GatedMatchesFp64) {
  const auto [name, rows, D] = GetParam();
  expect_match(
      {leaf({rows, D}), (torch::randn({D * rows}) * 3).requires_grad_(), (torch::rand({D}) + 0.5).requires_grad_()},
      [](const auto& in) { return rms_norm_silu_gate(in[0], in[1], in[2], kEps); },
      [](const auto& in) { return rms_norm_silu_gate_reference(in[0], in[1], in[2], kEps); }, 2e-6,
      gradient_tolerance(rows, D));
}

TEST_P(RmsNorm, L2MatchesFp64) {
  const auto [name, rows, D] = GetParam();
  if (D == 1) {  // the gradient is rounding alone
    const auto x = leaf({rows, D});
    EXPECT_TRUE(close(l2_norm(x), l2_norm_reference(fp64(x)), 1e-6));
    return;
  }
  expect_match(
      {leaf({rows, D})}, [](const auto& in) { return l2_norm(in[0]); },
      [](const auto& in) { return l2_norm_reference(in[0]); }, 1e-6, 2e-5);
}

TEST_P(RmsNorm, Bf16MatchesFp64) {
  const auto [name, rows, D] = GetParam();
  if (D == 1) return;  // the norm's gradient of one channel is rounding alone
  const auto weight = (torch::rand({D}) + 0.5).requires_grad_();
  for (const auto x_type : {torch::kFloat32, torch::kBFloat16}) {
    for (const auto y_type : {torch::kFloat32, torch::kBFloat16}) {
      SCOPED_TRACE(std::string(c10::toString(x_type)) + " to " + c10::toString(y_type));
      expect_match(
          {leaf({rows, D}, x_type), weight}, [&](const auto& in) { return rms_norm(in[0], in[1], kEps, y_type); },
          [](const auto& in) { return rms_norm_reference(in[0], in[1], kEps, torch::kFloat64); }, 5e-3, 5e-3);
    }
  }
  expect_match(
      {leaf({rows, D}, torch::kBFloat16), leaf({rows, D}, torch::kBFloat16), weight},
      [](const auto& in) { return rms_norm_silu_gate(in[0], in[1], in[2], kEps); },
      [](const auto& in) { return rms_norm_silu_gate_reference(in[0], in[1], in[2], kEps); }, 5e-3, 5e-3);
  expect_match(
      {leaf({rows, D}, torch::kBFloat16)}, [](const auto& in) { return l2_norm(in[0]); },
      [](const auto& in) { return l2_norm_reference(in[0]); }, 5e-3, 5e-3);
}

INSTANTIATE_TEST_SUITE_P(Sizes, RmsNorm,
                         ::testing::Values(Case{"one_number", 1, 1}, Case{"one_channel", 67, 1}, Case{"width_7", 3, 7},
                                           Case{"width_16", 31, 16}, Case{"width_33", 33, 33}, Case{"width_96", 67, 96},
                                           Case{"width_512", 2, 512}, Case{"width_515", 65, 515}),
                         [](const auto& i) { return i.param.name; });

TEST(RmsNormProperties, RowsDoNotMeetAndThreadsDoNotShow) {
  torch::manual_seed(3);
  const auto x = torch::randn({5, 40, 515}).requires_grad_(), gate = torch::randn({5, 40, 515}).requires_grad_();
  const auto weight = torch::rand({515}).requires_grad_();
  const auto dy = torch::randn({5, 40, 515});
  const auto run = [&] {
    const auto y = rms_norm(x, weight, kEps, torch::kFloat32), z = rms_norm_silu_gate(x, gate, weight, kEps);
    auto all = torch::autograd::grad({y, z}, {x, gate, weight}, {dy, dy});
    all.push_back(y.detach());
    all.push_back(z.detach());
    return all;
  };
  const auto first = run();
  const int threads = num_threads();
  set_num_threads(threads == 1 ? 3 : 1);
  const auto second = run();
  set_num_threads(threads);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(identical(first[i], second[i])) << i;
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(identical(first[3][2], rms_norm(x[2], weight, kEps, torch::kFloat32)));
  EXPECT_TRUE(identical(first[4][2], rms_norm_silu_gate(x[2], gate[2], weight, kEps)));
}

TEST(RmsNormProperties, FrozenWeightGetsNoGradient) {
  const auto x = torch::randn({4, 16}).requires_grad_();
  const auto weight = torch::rand({16});
  rms_norm(x, weight, kEps, torch::kFloat32).sum().backward();
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
}

TEST(RmsNormProperties, StridedInput) {
  const auto wide = torch::randn({6, 64}), weight = torch::rand({33});
  const auto view = wide.narrow(1, 7, 33);
  EXPECT_TRUE(identical(rms_norm(view, weight, kEps, torch::kFloat32),
                        rms_norm(view.contiguous(), weight, kEps, torch::kFloat32)));
}

}  // namespace
}  // namespace lt2
