#include "ops/gates/op.h"

#include <functional>

#include "base/error.h"
#include "base/threads.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using torch::Tensor;

Tensor leaf(const Tensor& t) { return t.detach().clone().set_requires_grad(true); }

// A gate with its parameters, so that one test serves all.
struct Case {
  std::string name;
  std::function<Tensor(const Tensor&x, const Tensor&A_log, const Tensor&bias)> fast, reference;
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

std::vector<Case> gates() {
  return {
      {"log_decay", [](auto& x, auto& A, auto& b) { return log_decay(x, A, b); },
       [](auto& x, auto& A, auto& b) { return log_decay_reference(x, A, b); }},
      {"log_sigmoid", [](auto& x, auto&, auto&) { return log_sigmoid(x, 1, {}); },
       [](auto& x, auto&, auto&) { return log_sigmoid_reference(x, 1, {}); }},
      {"log_sigmoid_bias_16", [](auto& x, auto&, auto& b) { return log_sigmoid(x, 16, b); },
       [](auto& x, auto&, auto& b) { return log_sigmoid_reference(x, 16, b); }},
      {"step_size", [](auto& x, auto&, auto& b) { return step_size(x, b); },
       [](auto& x, auto&, auto& b) { return step_size_reference(x, b); }},
      {"write_strength", [](auto& x, auto&, auto&) { return write_strength(x, 1); },
       [](auto& x, auto&, auto&) { return write_strength_reference(x, 1); }},
      {"write_strength_2", [](auto& x, auto&, auto&) { return write_strength(x, 2); },
       [](auto& x, auto&, auto&) { return write_strength_reference(x, 2); }},
      {"one_minus_sigmoid", [](auto& x, auto&, auto&) { return one_minus_sigmoid(x); },
       [](auto& x, auto&, auto&) { return one_minus_sigmoid_reference(x); }},
      {"swish", [](auto& x, auto&, auto&) { return swish(x); },
       [](auto& x, auto&, auto&) { return swish_reference(x); }},
  };
}

class Gates : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::manual_seed(7); }
};

TEST_P(Gates, ValuesAndGradientsMatchFp64) {
  const auto& gate = GetParam();
  // Channels and heads: one channel a head, as in gdn, and several, as in kda, also of a single head.
  for (const auto& [n, H] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 3}, {16, 16}, {21, 3}, {40, 5}, {2, 1}, {21, 1}, {64, 1}}) {
    const auto x = leaf(6 * torch::randn({2, 37, n})), A_log = leaf(torch::randn({H})),
               bias = leaf(3 * torch::randn({n}) - 4);
    const auto xd = leaf(x.to(torch::kFloat64)), Ad = leaf(A_log.to(torch::kFloat64)),
               bd = leaf(bias.to(torch::kFloat64));
    const auto dy = torch::randn({2, 37, n});
    const auto y = gate.fast(x, A_log, bias), truth = gate.reference(xd, Ad, bd);
    // Element by element: a decay near 0 must not lose its digits beside a strong one.
    EXPECT_LE(((y.to(torch::kFloat64) - truth) / truth).abs().max().item<double>(), 3e-6) << n;
    (y * dy).sum().backward();
    (truth * dy).sum().backward();
    EXPECT_TRUE(test::close(x.grad(), xd.grad(), 1e-5)) << n;
    EXPECT_EQ(A_log.grad().defined(), Ad.grad().defined());
    EXPECT_EQ(bias.grad().defined(), bd.grad().defined());
    if (Ad.grad().defined()) {
      EXPECT_TRUE(test::close(A_log.grad(), Ad.grad(), 1e-5)) << n;
    }
    if (bd.grad().defined()) {
      EXPECT_TRUE(test::close(bias.grad(), bd.grad(), 1e-5)) << n;
    }
  }
}

TEST_P(Gates, Bf16IsRoundedOnlyAtItsEnds) {
  const auto& gate = GetParam();
  const auto x = leaf((4 * torch::randn({3, 5, 20})).to(torch::kBFloat16)), wide = leaf(x.to(torch::kFloat32));
  const auto A_log = torch::randn({4}), bias = torch::randn({20});
  const auto y = gate.fast(x, A_log, bias), expected = gate.fast(wide, A_log, bias);
  EXPECT_TRUE(test::identical(y, expected.to(y.scalar_type())));
  const auto dy = torch::randn({3, 5, 20}).to(y.scalar_type());
  (y * dy).sum().backward();
  (expected * dy.to(torch::kFloat32)).sum().backward();
  EXPECT_TRUE(test::identical(x.grad(), wide.grad().to(torch::kBFloat16)));
}

TEST_P(Gates, PlaceInTheBatchAndThreadsChangeNoBit) {
  const auto& gate = GetParam();
  const auto x = leaf(torch::randn({300, 21})), A_log = leaf(torch::randn({3})), bias = leaf(torch::randn({21}));
  const auto y = gate.fast(x, A_log, bias);
  for (const int64_t r : {0, 1, 7, 299}) EXPECT_TRUE(test::identical(gate.fast(x[r], A_log, bias), y[r]));
  const auto gradients = [&](int threads) {
    const int before = num_threads();
    set_num_threads(threads);
    for (const auto* t : {&x, &A_log, &bias}) t->mutable_grad() = Tensor();
    gate.fast(x, A_log, bias).sum().backward();
    set_num_threads(before);
    auto all = x.grad().flatten();
    for (const auto* t : {&A_log, &bias}) {
      if (t->grad().defined()) all = torch::cat({all, t->grad()});
    }
    return all;
  };
  EXPECT_TRUE(test::identical(gradients(1), gradients(2)));
}

TEST_P(Gates, ExtremesAndViewsAreFine) {
  const auto& gate = GetParam();
  const auto x = torch::tensor({-1e4F, -100.0F, -20.0F, 0.0F, 20.0F, 100.0F, 1e4F}).unsqueeze(1).expand({7, 3});
  const auto strided = leaf(torch::cat({x, x}, 1)).narrow(1, 2, 3);
  strided.retain_grad();
  const auto zero = torch::zeros({3});
  const auto y = gate.fast(strided, zero, zero);
  EXPECT_TRUE(torch::isfinite(y).all().item<bool>());
  EXPECT_TRUE(test::identical(y, gate.fast(x.contiguous(), zero, zero)));
  y.sum().backward();
  EXPECT_TRUE(torch::isfinite(strided.grad()).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(All, Gates, ::testing::ValuesIn(gates()), [](const auto& c) { return c.param.name; });

TEST(GateValues, FarTailsKeepTheirDigits) {
  const auto x = torch::tensor({-20.0F, 20.0F, 1e4F}), zero = torch::zeros({3});
  EXPECT_NEAR(log_decay(x, zero, zero)[0].item<double>(), -2.061153618e-9, 1e-14);
  EXPECT_EQ(log_decay(x, zero, zero)[2].item<float>(), -1e4F);
  EXPECT_NEAR(log_sigmoid(x, 1, {})[1].item<double>(), -2.061153618e-9, 1e-14);
  EXPECT_NEAR(one_minus_sigmoid(x)[1].item<double>(), 2.061153618e-9, 1e-14);
}

TEST(GateErrors, ParametersMustFit) {
  EXPECT_THROW(log_decay(torch::zeros({2, 6}), torch::zeros({4}), torch::zeros({6})), Error);
  EXPECT_THROW(log_decay(torch::zeros({2, 6}), torch::zeros({3}), torch::zeros({5})), Error);
  EXPECT_THROW(step_size(torch::zeros({2, 6}), torch::zeros({1})), Error);
  EXPECT_THROW(log_sigmoid(torch::zeros({2, 6}), 16, torch::zeros({7})), Error);
}

}  // namespace
}  // namespace lt2
