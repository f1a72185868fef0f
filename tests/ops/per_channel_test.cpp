#include "ops/per_channel/op.h"

#include "base/error.h"
#include "base/threads.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using torch::Tensor;

struct Case {
  std::string name;
  int64_t rows, n, weights;  // weights 0: none
  bool bias, base;
};
std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class PerChannel : public ::testing::TestWithParam<Case> {
 protected:
  void TearDown() override { set_num_threads(allowed_cores()); }

  // Leaves of the case's shapes in `type`.
  static std::vector<Tensor> leaves(torch::ScalarType type) {
    const auto& c = GetParam();
    torch::manual_seed(11);
    std::vector<Tensor> out{torch::randn({c.rows, c.n}), c.weights ? torch::randn({c.weights}) : Tensor(),
                            c.bias ? torch::randn({c.n}) : Tensor(), c.base ? torch::randn({c.rows, c.n}) : Tensor()};
    for (auto& leaf : out) {
      if (leaf.defined()) leaf = leaf.to(type).requires_grad_();
    }
    return out;
  }
  static PerChannelInput input(const std::vector<Tensor>& l) {
    return {.x = l[0], .weight = l[1], .bias = l[2], .base = l[3]};
  }
};

TEST_P(PerChannel, ValuesAndGradientsMatchTheReference) {
  const auto fast = leaves(torch::kFloat32), exact = leaves(torch::kFloat64);
  const auto y = per_channel(input(fast), torch::kFloat32),
             expected = per_channel_reference(input(exact), torch::kFloat64);
  EXPECT_TRUE(test::close(y, expected, 1e-6));
  const auto dy = torch::randn(y.sizes());
  (y * dy).sum().backward();
  (expected * dy).sum().backward();
  for (size_t i = 0; i < fast.size(); ++i) {
    if (!fast[i].defined()) continue;
    ASSERT_EQ(fast[i].grad().sizes(), fast[i].sizes());
    EXPECT_TRUE(test::close(fast[i].grad(), exact[i].grad(), 3e-6)) << i;
  }
}

TEST_P(PerChannel, ThreadsChangeNoBit) {
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const auto l = leaves(torch::kFloat32);
    per_channel(input(l), torch::kFloat32).sin().backward(torch::ones_like(l[0]));
    std::vector<Tensor> gradients;
    for (const auto& leaf : l) {
      if (leaf.defined()) gradients.push_back(leaf.grad());
    }
    if (threads == 1) first = gradients;
    for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(test::identical(gradients[i], first[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PerChannel,
    ::testing::Values(Case{"Bias", 700, 61, 0, true, false}, Case{"Scale", 33, 17, 17, false, false},
                      Case{"Heads", 700, 96, 6, false, true}, Case{"Scalar", 1500, 48, 1, false, true},
                      Case{"All", 257, 130, 65, true, true}, Case{"One", 1, 1, 1, true, true},
                      Case{"OneChannel", 700, 1, 1, true, true}, Case{"OneRow", 1, 97, 97, true, true}),
    [](const auto& each) { return each.param.name; });

TEST(PerChannelInputs, ViewsAndNarrowTypesAreRoundedOnce) {
  const auto whole = torch::randn({5, 7, 24}), x = whole.narrow(2, 3, 12), weight = torch::randn({8}).slice(0, 0, 8, 2);
  const auto one = torch::randn({1}).expand({4});  // a stride of 0
  for (const auto& w : {weight, one}) {
    const PerChannelInput in{.x = x, .weight = w, .base = whole.narrow(2, 0, 12)};
    EXPECT_TRUE(test::close(per_channel(in, torch::kFloat32), per_channel_reference(in, torch::kFloat32), 1e-6));
    PerChannelInput narrow = in;
    narrow.x = x.to(torch::kBFloat16);
    narrow.base = Tensor();
    EXPECT_TRUE(test::identical(per_channel(narrow, torch::kBFloat16),
                                per_channel(narrow, torch::kFloat32).to(torch::kBFloat16)));
  }
}

TEST(PerChannelInputs, NoRowsAreFine) {
  const auto w = torch::randn({4}).requires_grad_();
  const auto y = per_channel({.x = torch::zeros({0, 4}), .weight = w}, torch::kFloat32);
  y.sum().backward();
  EXPECT_TRUE(test::identical(w.grad(), torch::zeros({4})));
}

TEST(PerChannelErrors, ShapesMustFit) {
  const auto x = torch::zeros({2, 6});
  EXPECT_THROW(per_channel({.x = x, .weight = torch::zeros({4})}, torch::kFloat32), Error);
  EXPECT_THROW(per_channel({.x = x, .bias = torch::zeros({3})}, torch::kFloat32), Error);
  EXPECT_THROW(per_channel({.x = x, .base = torch::zeros({1, 6})}, torch::kFloat32), Error);
}

TEST(RepeatForHeads, CopiesAndAddsUp) {
  const auto x = torch::randn({2, 3, 5}).requires_grad_(), y = repeat_for_heads(x, 4);
  ASSERT_EQ(y.sizes(), torch::IntArrayRef({2, 3, 4, 5}));
  const auto dy = torch::randn({2, 3, 4, 5});
  y.backward(dy);
  EXPECT_TRUE(test::close(x.grad(), dy.sum(2), 1e-6));
  for (int64_t h = 0; h < 4; ++h) EXPECT_TRUE(test::identical(y.select(2, h), x));
}

}  // namespace
}  // namespace lt2
