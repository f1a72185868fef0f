#include "train/adamw.h"

#include <torch/optim.h>

#include "mixers/mixer.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

// PyTorch's AdamW is the reference; clipping is a factor on its gradients.
TEST(AdamW, MatchesTorch) {
  torch::manual_seed(1);
  const std::vector<int64_t> sizes{1, 7, 64, 1000};
  NamedTensors ours;
  std::vector<torch::Tensor> theirs;
  for (const int64_t n : sizes) {
    const auto start = torch::randn({n});
    ours.emplace_back("p" + std::to_string(n), start.clone().set_requires_grad(true));
    theirs.push_back(start.clone().set_requires_grad(true));
  }
  const OptimConfig config{.weight_decay = 0.1, .epsilon = 1e-8, .beta1 = 0.9, .beta2 = 0.95};
  AdamW optimizer(ours, config);
  torch::optim::AdamW judge(theirs, torch::optim::AdamWOptions(0.01).betas({0.9, 0.95}).eps(1e-8).weight_decay(0.1));
  for (int step = 0; step < 5; ++step) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto g = torch::randn({sizes[i]});
      ours[i].second.mutable_grad() = g.clone();
      theirs[i].mutable_grad() = g * 0.5;
    }
    optimizer.step(0.01, 0.5);
    judge.step();
  }
  for (size_t i = 0; i < sizes.size(); ++i) EXPECT_TRUE(test::close(ours[i].second, theirs[i], 1e-6)) << sizes[i];
}

TEST(AdamW, SumOfSquaresOfUnequalTensors) {
  const auto a = torch::full({100000}, 0.01), b = torch::tensor({1.0F, 2.0F, 2.0F}), none = torch::zeros({0});
  EXPECT_NEAR(sum_of_squares({a, none, b}), 10.0 + 9.0, 1e-5);
  EXPECT_NEAR(sum_of_squares({a.view({100, 1000}).t()}), 10.0, 1e-5);
}

TEST(AdamW, SumOfSquaresFindsOneBadElement) {
  const auto a = torch::full({70000}, 3e38F), b = torch::ones({4});
  EXPECT_NEAR(std::sqrt(sum_of_squares({a, b}) / 70000.0) / 3e38, 1, 1e-6);
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    b[3].fill_(bad);
    EXPECT_FALSE(std::isfinite(sum_of_squares({a, b})));
  }
}

TEST(AdamW, SkipsParametersWithoutGradientAndKeepsTheirCount) {
  auto a = torch::ones({4}).set_requires_grad(true), b = torch::ones({4}).set_requires_grad(true);
  AdamW optimizer({{"a", a}, {"b", b}}, {});
  a.mutable_grad() = torch::ones({4});
  optimizer.step(0.1, 1);
  EXPECT_EQ(b.min().item<float>(), 1);  // no decay either
  b.mutable_grad() = torch::ones({4});
  optimizer.step(0.1, 1);
  const auto state = optimizer.state();
  EXPECT_EQ(take(state, "a.step", {1}).item<int64_t>(), 2);
  EXPECT_EQ(take(state, "b.step", {1}).item<int64_t>(), 1);
}

TEST(AdamW, ExemptNamesDoNotDecay) {
  auto a = torch::ones({4}).set_requires_grad(true), b = torch::ones({4}).set_requires_grad(true);
  OptimConfig config;
  config.decay_exempt = {"A_log$"};
  AdamW optimizer({{"layers.0.attention.A_log", a}, {"w", b}}, config);
  a.mutable_grad() = torch::zeros({4});
  b.mutable_grad() = torch::zeros({4});
  optimizer.step(0.1, 1);
  EXPECT_EQ(a.min().item<float>(), 1);
  EXPECT_NEAR(b.max().item<float>(), 1 - 0.1 * 0.1, 1e-6);
}

TEST(AdamW, StateRoundTrip) {
  auto a = torch::ones({9}).set_requires_grad(true), b = a.detach().clone().set_requires_grad(true);
  AdamW first({{"a", a}}, {}), second({{"a", b}}, {});
  a.mutable_grad() = torch::randn({9});
  first.step(0.1, 1);
  {
    torch::NoGradGuard no_grad;
    b.copy_(a);
  }
  second.restore(first.state());
  a.mutable_grad() = torch::full({9}, 0.3);
  b.mutable_grad() = torch::full({9}, 0.3);
  first.step(0.1, 1);
  second.step(0.1, 1);
  EXPECT_TRUE(test::identical(a, b));
}

}  // namespace
}  // namespace lt2
