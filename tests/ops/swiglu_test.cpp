#include "ops/swiglu/op.h"

#include <gtest/gtest.h>

#include "base/threads.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;
using Op = torch::Tensor (*)(const torch::Tensor&, const torch::Tensor&);

struct Case {
  std::string name;
  Op op, reference;
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

class GatedProduct : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::manual_seed(1); }
};

torch::Tensor fp64(const torch::Tensor& x) { return x.detach().to(torch::kFloat64); }

TEST_P(GatedProduct, ValuesAndGradientsMatchFp64) {
  for (const int64_t n : {1, 7, 16, 33, 515, 70001}) {
    SCOPED_TRACE(n);
    const auto a = (torch::randn({n}) * 4).requires_grad_(), b = torch::randn({n}).requires_grad_();
    const auto a64 = fp64(a).requires_grad_(), b64 = fp64(b).requires_grad_();
    const auto dy = torch::randn({n});
    const auto y = GetParam().op(a, b), truth = GetParam().reference(a64, b64);
    EXPECT_TRUE(close(y, truth, 1e-6));
    const auto got = torch::autograd::grad({y}, {a, b}, {dy});
    const auto want = torch::autograd::grad({truth}, {a64, b64}, {fp64(dy)});
    EXPECT_TRUE(close(got[0], want[0], 2e-6));
    EXPECT_TRUE(close(got[1], want[1], 2e-6));
  }
}

TEST_P(GatedProduct, Bf16) {
  const auto make = [] { return torch::randn({67, 33}).to(torch::kBFloat16).requires_grad_(); };
  const auto a = make(), b = make();
  const auto a64 = fp64(a).requires_grad_(), b64 = fp64(b).requires_grad_();
  const auto y = GetParam().op(a, b), truth = GetParam().reference(a64, b64);
  ASSERT_EQ(y.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(close(y, truth, 5e-3));
  const auto dy = torch::randn({67, 33}).to(torch::kBFloat16);
  const auto got = torch::autograd::grad({y}, {a, b}, {dy});
  const auto want = torch::autograd::grad({truth}, {a64, b64}, {fp64(dy)});
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(close(got[i], want[i], 5e-3));
}

TEST_P(GatedProduct, LargeInputsStayFinite) {
  const auto gate =
      torch::tensor({-1e30, -3e4, -104.5, -88.9, -87.0, 87.0, 88.9, 104.5, 3e4, 1e30}).to(torch::kFloat32);
  for (const auto& a : {gate, torch::ones_like(gate)}) {
    const auto x = a.clone().requires_grad_(), b = torch::flip(gate, 0).sign().requires_grad_();
    const auto y = GetParam().op(x, b);
    EXPECT_TRUE(torch::isfinite(y).all().item<bool>());
    EXPECT_TRUE(close(y, GetParam().reference(fp64(x), fp64(b)), 1e-6));
    for (const auto& g : torch::autograd::grad({y}, {x, b}, {torch::ones_like(y)})) {
      EXPECT_TRUE(torch::isfinite(g).all().item<bool>());
    }
  }
}

TEST_P(GatedProduct, SameBitsForAnyPlaceAndThreadCount) {
  const auto a = torch::randn({3, 40003}), b = torch::randn({3, 40003});
  const auto whole = GetParam().op(a, b);
  EXPECT_TRUE(identical(whole[1], GetParam().op(a[1], b[1])));
  EXPECT_TRUE(identical(whole.narrow(1, 5, 33), GetParam().op(a.narrow(1, 5, 33), b.narrow(1, 5, 33))));
  const int threads = num_threads();
  set_num_threads(threads == 1 ? 3 : 1);
  EXPECT_TRUE(identical(whole, GetParam().op(a, b)));
  set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Ops, GatedProduct,
                         ::testing::Values(Case{"swiglu", swiglu, swiglu_reference},
                                           Case{"sigmoid_gate", sigmoid_gate, sigmoid_gate_reference}),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace lt2
