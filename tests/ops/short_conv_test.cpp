#include "ops/short_conv/op.h"

#include <gtest/gtest.h>

#include "base/threads.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;
using torch::Tensor;

struct Case {
  std::string name;
  int64_t B, L, channels;
  bool bias, tail, silu;
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

class ShortConv : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::manual_seed(4); }
};

ShortConvInput make_input(const Case& c, torch::ScalarType type = torch::kFloat32) {
  ShortConvInput in;
  in.x = (torch::randn({c.B, c.L, c.channels}) * 2).to(type).requires_grad_();
  in.weight = (torch::rand({c.channels, 1, 4}) - 0.5).requires_grad_();
  if (c.bias) in.bias = torch::randn({c.channels}).requires_grad_();
  if (c.tail) in.tail = torch::randn({c.B, 3, c.channels}).to(type);
  in.silu = c.silu;
  return in;
}

Tensor fp64(const Tensor& x) { return x.defined() ? x.detach().to(torch::kFloat64) : x; }
ShortConvInput fp64(const ShortConvInput& in) {
  ShortConvInput out{fp64(in.x).requires_grad_(), fp64(in.weight).requires_grad_(), fp64(in.bias), fp64(in.tail),
                     in.silu};
  if (out.bias.defined()) out.bias.requires_grad_();
  return out;
}
std::vector<Tensor> leaves(const ShortConvInput& in) {
  std::vector<Tensor> all = {in.x, in.weight};
  if (in.bias.defined()) all.push_back(in.bias);
  return all;
}

void expect_match(const ShortConvInput& in, double value_tolerance, double gradient_tolerance) {
  const auto in64 = fp64(in);
  const auto y = short_conv(in), truth = short_conv_reference(in64);
  EXPECT_EQ(y.scalar_type(), in.x.scalar_type());
  EXPECT_TRUE(close(y, truth, value_tolerance));
  const auto dy = torch::randn(y.sizes()).to(y.scalar_type());
  const auto got = torch::autograd::grad({y}, leaves(in), {dy});
  const auto want = torch::autograd::grad({truth}, leaves(in64), {fp64(dy)});
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(close(got[i], want[i], gradient_tolerance)) << "gradient " << i;
}

TEST_P(ShortConv, MatchesFp64) { expect_match(make_input(GetParam()), 1e-6, 1e-5); }
TEST_P(ShortConv, Bf16MatchesFp64) { expect_match(make_input(GetParam(), torch::kBFloat16), 5e-3, 5e-3); }

INSTANTIATE_TEST_SUITE_P(Sizes, ShortConv,
                         ::testing::Values(Case{"one_token", 1, 1, 16, false, false, true},
                                           Case{"one_token_tail", 2, 1, 33, true, true, true},
                                           Case{"two_tokens", 3, 2, 7, false, true, true},
                                           Case{"three_tokens", 1, 3, 1, true, false, true},
                                           Case{"four_tokens", 2, 4, 515, false, true, false},
                                           Case{"five_tokens", 2, 5, 96, true, true, true},
                                           Case{"long", 2, 67, 1030, true, false, true},
                                           Case{"longer", 1, 333, 48, false, true, true}),
                         [](const auto& i) { return i.param.name; });

TEST(ShortConvProperties, PartsEqualTheWhole) {
  torch::manual_seed(5);
  const torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    auto in = make_input({"", 2, 41, 515, true, true, true}, type);
    const auto whole = short_conv(in);
    const auto last_tail = short_conv_next_tail(in);
    EXPECT_TRUE(identical(last_tail, in.x.narrow(1, 38, 3)));
    const auto x = in.x;
    int64_t begin = 0;
    std::vector<Tensor> parts;
    for (const int64_t L : {1, 1, 2, 3, 4, 5, 1, 17, 7}) {
      in.x = x.narrow(1, begin, L);
      begin += L;
      parts.push_back(short_conv(in));
      in.tail = short_conv_next_tail(in);
    }
    ASSERT_EQ(begin, 41);
    EXPECT_TRUE(identical(torch::cat(parts, 1), whole));
    EXPECT_TRUE(identical(in.tail, last_tail));
  }
}

TEST(ShortConvProperties, FirstTailCountsMissingTokensAsZero) {
  auto in = make_input({"", 2, 2, 5, false, false, true});
  const auto tail = short_conv_next_tail(in);
  EXPECT_FALSE(tail.requires_grad());
  EXPECT_TRUE(identical(tail.narrow(1, 0, 1), torch::zeros({2, 1, 5})));
  EXPECT_TRUE(identical(tail.narrow(1, 1, 2), in.x));
}

TEST(ShortConvProperties, SequencesDoNotMeetAndThreadsDoNotShow) {
  torch::manual_seed(6);
  const auto in = make_input({"", 3, 70, 300, true, true, true});
  const auto dy = torch::randn(in.x.sizes());
  const auto run = [&] {
    const auto y = short_conv(in);
    auto all = torch::autograd::grad({y}, leaves(in), {dy});
    all.push_back(y.detach());
    return all;
  };
  const auto first = run();
  const int threads = num_threads();
  set_num_threads(threads == 1 ? 3 : 1);
  const auto second = run();
  set_num_threads(threads);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(identical(first[i], second[i])) << i;
  auto alone = in;
  alone.x = in.x.detach().narrow(0, 1, 1).clone().requires_grad_();
  alone.tail = in.tail.narrow(0, 1, 1);
  const auto y = short_conv(alone);
  EXPECT_TRUE(identical(y, first[3].narrow(0, 1, 1)));
  EXPECT_TRUE(identical(torch::autograd::grad({y}, {alone.x}, {dy.narrow(0, 1, 1)})[0], first[0].narrow(0, 1, 1)));
}

TEST(ShortConvProperties, OtherWidthsRunToo) {
  torch::manual_seed(7);
  ShortConvInput in;
  in.x = torch::randn({2, 9, 6});
  in.weight = torch::randn({6, 1, 3});
  in.tail = torch::randn({2, 2, 6});
  EXPECT_TRUE(close(short_conv(in), short_conv_reference(fp64(in)), 1e-6));
  EXPECT_TRUE(identical(short_conv_next_tail(in), in.x.narrow(1, 7, 2)));
}

TEST(ShortConvProperties, WrongShapesAreNamed) {
  auto in = make_input({"", 1, 4, 8, false, false, true});
  in.tail = torch::zeros({1, 4, 8});
  EXPECT_ANY_THROW(short_conv(in));
  in.tail = torch::Tensor();
  in.weight = torch::zeros({7, 1, 4});
  EXPECT_ANY_THROW(short_conv(in));
}

}  // namespace
}  // namespace lt2
