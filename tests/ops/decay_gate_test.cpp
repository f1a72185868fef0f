#include "ops/decay_gate/op.h"

#include "tests/support/compare.h"

namespace lt2 {
namespace {

TEST(DecayGate, ValuesAndGradientsMatchFp64) {
  for (const int64_t n : {1, 3, 16, 21}) {
    torch::manual_seed(n);
    const auto leaf = [](const torch::Tensor& t) { return t.detach().clone().set_requires_grad(true); };
    const auto x = leaf(6 * torch::randn({2, 13, n})), A_log = leaf(torch::randn({n})),
               bias = leaf(3 * torch::randn({n}) - 4);
    const auto xd = leaf(x.to(torch::kFloat64)), Ad = leaf(A_log.to(torch::kFloat64)),
               bd = leaf(bias.to(torch::kFloat64));
    const auto dg = torch::randn({2, 13, n});
    const auto g = log_decay(x, A_log, bias), truth = log_decay_reference(xd, Ad, bd);
    // Element by element: a decay near 0 must not lose its digits beside a strong one.
    EXPECT_LE(((g.to(torch::kFloat64) - truth) / truth).abs().max().item<double>(), 2e-6);
    (g * dg).sum().backward();
    (truth * dg).sum().backward();
    EXPECT_TRUE(test::close(x.grad(), xd.grad(), 1e-5));
    EXPECT_TRUE(test::close(A_log.grad(), Ad.grad(), 1e-5));
    EXPECT_TRUE(test::close(bias.grad(), bd.grad(), 1e-5));
    for (const double scale : {1.0, 2.0}) {
      const auto y = leaf(x), yd = leaf(xd);
      (write_strength(y, scale) * dg).sum().backward();
      (write_strength_reference(yd, scale) * dg).sum().backward();
      EXPECT_TRUE(test::close(write_strength(y, scale), write_strength_reference(yd, scale), 1e-6));
      EXPECT_TRUE(test::close(y.grad(), yd.grad(), 1e-5));
    }
  }
}

TEST(DecayGate, ExtremesStayFinite) {
  const auto x = torch::tensor({-1e4F, -100.0F, -20.0F, 0.0F, 20.0F, 100.0F, 1e4F}), zero = torch::zeros({7});
  const auto g = log_decay(x, zero, zero);
  EXPECT_TRUE(torch::isfinite(g).all().item<bool>());
  EXPECT_NEAR(g[2].item<double>(), -2.061153618e-9, 1e-14);
  EXPECT_EQ(g[6].item<float>(), -1e4F);
  EXPECT_TRUE(torch::isfinite(write_strength(x, 2)).all().item<bool>());
}

TEST(DecayGate, PlaceInTheBatchChangesNoBit) {
  torch::manual_seed(2);
  const auto x = torch::randn({7, 5}), A_log = torch::randn({5}), bias = torch::randn({5});
  for (int64_t r = 0; r < 7; ++r) {
    EXPECT_TRUE(test::identical(log_decay(x[r], A_log, bias), log_decay(x, A_log, bias)[r]));
    EXPECT_TRUE(test::identical(write_strength(x[r], 1), write_strength(x, 1)[r]));
  }
}

}  // namespace
}  // namespace lt2
