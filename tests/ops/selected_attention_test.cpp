// selected_attention against the fp64 reference, and that its bits depend on a query's own list and keys alone.
#include "ops/selected_attention/op.h"

#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;

struct Case {
  std::string name;
  int64_t L, S, H, Hk, E, Ev, block_size, N;
  bool values_in_keys = false;
  int64_t first_query = -1;  // -1: the queries are the last tokens
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

/// Random ascending lists: up to N of the blocks that have begun, the own one more often than not.
torch::Tensor make_lists(const Case& c, int64_t B, int64_t first) {
  auto lists = torch::full({B, c.L, c.Hk, c.N}, -1, torch::kInt32);
  auto data = lists.accessor<int32_t, 4>();
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t l = 0; l < c.L; ++l) {
      for (int64_t h = 0; h < c.Hk; ++h) {
        const int64_t begun = (first + l) / c.block_size + 1, taken = std::min(begun, c.N);
        const auto chosen = std::get<0>(torch::randperm(begun, torch::kInt64).narrow(0, 0, taken).sort());
        for (int64_t n = 0; n < taken; ++n) data[b][l][h][n] = static_cast<int32_t>(chosen[n].item<int64_t>());
      }
    }
  }
  return lists;
}

SelectedAttentionInput make_input(const Case& c, int64_t B = 2) {
  torch::manual_seed(7);
  SelectedAttentionInput in;
  in.q = torch::randn({B, c.L, c.H, c.E});
  in.k = torch::randn({B, c.S, c.Hk, c.E});
  in.v = c.values_in_keys ? in.k.narrow(3, 0, c.Ev) : torch::randn({B, c.S, c.Hk, c.Ev});
  if (c.first_query >= 0) in.first_query = c.first_query;
  in.blocks = make_lists(c, B, c.first_query >= 0 ? c.first_query : c.S - c.L);
  in.block_size = c.block_size;
  in.scale = 1 / std::sqrt(static_cast<double>(c.E));
  return in;
}

SelectedAttentionInput with_type(SelectedAttentionInput in, torch::ScalarType type) {
  for (auto* t : {&in.q, &in.k, &in.v}) *t = t->detach().to(type);
  return in;
}

struct Result {
  torch::Tensor o, q, k, v;
};

template <typename Op>
Result run(Op op, SelectedAttentionInput in, const torch::Tensor& grad_o) {
  for (auto* t : {&in.q, &in.k, &in.v}) *t = t->detach().requires_grad_();
  const auto o = op(in);
  const auto grads = torch::autograd::grad({o}, {in.q, in.k, in.v}, {grad_o.to(o.scalar_type())});
  return {o.detach(), grads[0], grads[1], grads[2]};
}

torch::Tensor make_grad(const SelectedAttentionInput& in) {
  torch::manual_seed(8);
  return torch::randn({in.q.size(0), in.q.size(1), in.q.size(2), in.v.size(3)});
}

class SelectedAttention : public ::testing::TestWithParam<Case> {};

TEST_P(SelectedAttention, MatchesReference) {
  const auto in = make_input(GetParam());
  const auto grad_o = make_grad(in);
  const auto fast = run(selected_attention, in, grad_o);
  const auto truth = run(selected_attention_reference, with_type(in, torch::kFloat64), grad_o);
  EXPECT_TRUE(close(fast.o, truth.o, 1e-5));
  EXPECT_TRUE(close(fast.q, truth.q, 5e-5));
  EXPECT_TRUE(close(fast.k, truth.k, 5e-5));
  EXPECT_TRUE(close(fast.v, truth.v, 5e-5));
  // Without autograd the same bits.
  EXPECT_TRUE(identical(selected_attention(in), fast.o));
}

TEST_P(SelectedAttention, Bf16MatchesReference) {
  const auto in = with_type(make_input(GetParam()), torch::kBFloat16);
  const auto grad_o = make_grad(in).to(torch::kBFloat16);
  const auto fast = run(selected_attention, in, grad_o);
  const auto truth = run(selected_attention_reference, with_type(in, torch::kFloat64), grad_o);
  EXPECT_EQ(fast.o.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(close(fast.o, truth.o, 2e-2));
  EXPECT_TRUE(close(fast.q, truth.q, 2e-2));
  EXPECT_TRUE(close(fast.k, truth.k, 2e-2));
  EXPECT_TRUE(close(fast.v, truth.v, 2e-2));
}

TEST_P(SelectedAttention, TorchFormMatchesReference) {
  const auto in = with_type(make_input(GetParam()), torch::kFloat64);
  const auto grad_o = make_grad(in);
  const auto blocks = run(selected_attention, in, grad_o), truth = run(selected_attention_reference, in, grad_o);
  EXPECT_TRUE(close(blocks.o, truth.o, 1e-12));
  EXPECT_TRUE(close(blocks.q, truth.q, 1e-12));
  EXPECT_TRUE(close(blocks.k, truth.k, 1e-12));
  EXPECT_TRUE(close(blocks.v, truth.v, 1e-12));
}

TEST_P(SelectedAttention, MeanProbabilitiesGiveTheMeanOutput) {
  const auto in = make_input(GetParam());
  const int64_t B = in.q.size(0), Hk = in.k.size(2), S = in.k.size(1);
  const auto p = selected_attention_mean_probabilities(in);
  ASSERT_EQ(p.sizes(), torch::IntArrayRef({B, in.q.size(1), Hk, in.blocks.size(3) * in.block_size}));
  auto keys = (in.blocks.to(torch::kInt64).unsqueeze(-1) * in.block_size + torch::arange(in.block_size)).flatten(3);
  const auto spread = torch::zeros({B, in.q.size(1), Hk, S}).scatter_add(3, keys.clamp(0, S - 1), p);
  const auto mean = torch::einsum("blhs,bshe->blhe", {spread, in.v});
  const auto truth = selected_attention_reference(with_type(in, torch::kFloat64))
                         .reshape({B, in.q.size(1), Hk, in.q.size(2) / Hk, in.v.size(3)})
                         .mean(3);
  EXPECT_TRUE(close(mean, truth, 1e-5));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, SelectedAttention,
    ::testing::Values(Case{"one_token", 1, 1, 2, 1, 8, 8, 1, 4}, Case{"dsa", 150, 150, 5, 1, 40, 32, 1, 20, true},
                      Case{"dsa_all_keys", 90, 90, 3, 1, 12, 8, 1, 128, true},
                      Case{"dsa_long_list", 20, 300, 16, 1, 24, 16, 1, 150, true},
                      Case{"dsa_many_heads", 9, 130, 40, 1, 24, 24, 1, 70},
                      Case{"dsa_step", 1, 300, 17, 1, 72, 64, 1, 100, true}, Case{"nsa", 170, 170, 4, 2, 16, 16, 16, 4},
                      Case{"nsa_odd", 133, 133, 6, 2, 12, 20, 7, 3},
                      Case{"nsa_one_head_groups", 100, 100, 3, 3, 8, 8, 32, 2},
                      Case{"nsa_step", 1, 200, 8, 2, 64, 64, 64, 3}, Case{"continued", 33, 200, 4, 2, 16, 8, 16, 5},
                      Case{"queries_in_the_middle", 20, 120, 4, 2, 16, 16, 8, 4, false, 50},
                      Case{"block_above_length", 30, 30, 2, 1, 8, 8, 64, 2}),
    [](const auto& i) { return i.param.name; });

TEST(SelectedAttentionExact, WholeListsEqualCausalAttentionReference) {
  auto in = make_input({"", 70, 70, 4, 2, 16, 16, 8, 9});
  in.blocks = torch::arange(9, torch::kInt32).expand({2, 70, 2, 9});
  const auto q = in.q.transpose(1, 2), k = in.k.repeat_interleave(2, 2).transpose(1, 2),
             v = in.v.repeat_interleave(2, 2).transpose(1, 2);
  const auto future = torch::ones({70, 70}, torch::kBool).triu(1);
  const auto p = (q.matmul(k.transpose(-1, -2)) * in.scale).masked_fill(future, -INFINITY).softmax(-1);
  EXPECT_TRUE(close(selected_attention(in), p.matmul(v).transpose(1, 2), 1e-5));
}

TEST(SelectedAttentionExact, RowsDependOnTheirOwnListAlone) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const Case& c :
         {Case{"dsa", 100, 100, 20, 1, 40, 32, 1, 70, true}, Case{"nsa", 100, 100, 4, 2, 16, 16, 16, 4}}) {
      auto in = make_input(c, 3);
      in.q = in.q.to(type), in.k = in.k.to(type);
      in.v = c.values_in_keys ? in.k.narrow(3, 0, c.Ev) : in.v.to(type);
      const auto all = selected_attention(in);
      auto part = in;
      for (int64_t b = 0; b < 3; ++b) {
        for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 100}, {0, 1}, {64, 65}, {37, 99}, {99, 100}}) {
          part.q = in.q.narrow(0, b, 1).narrow(1, begin, end - begin);
          part.blocks = in.blocks.narrow(0, b, 1).narrow(1, begin, end - begin);
          part.k = in.k.narrow(0, b, 1).narrow(1, 0, end);
          part.v = in.v.narrow(0, b, 1).narrow(1, 0, end);
          EXPECT_TRUE(identical(selected_attention(part), all.narrow(0, b, 1).narrow(1, begin, end - begin))) << c;
        }
      }
      // A copy of the values, wider lists and 64-bit indices change nothing.
      part = in;
      part.v = in.v.clone();
      part.blocks = torch::cat({in.blocks, torch::full_like(in.blocks, -1)}, 3).to(torch::kInt64);
      EXPECT_TRUE(identical(selected_attention(part), all)) << c;
    }
  }
}

TEST(SelectedAttentionExact, ThreadsDoNotMatter) {
  const int before = num_threads();
  for (const Case& c : {Case{"dsa", 200, 200, 20, 1, 40, 32, 1, 70}, Case{"nsa", 200, 200, 4, 2, 16, 16, 16, 4},
                        Case{"step", 1, 200, 40, 1, 40, 32, 1, 100}}) {
    const auto in = make_input(c);
    const auto grad_o = make_grad(in);
    set_num_threads(1);
    const auto alone = run(selected_attention, in, grad_o);
    for (const int threads : {2, 5}) {
      set_num_threads(threads);
      const auto shared = run(selected_attention, in, grad_o);
      EXPECT_TRUE(identical(shared.o, alone.o)) << c;
      EXPECT_TRUE(identical(shared.q, alone.q)) << c;
      EXPECT_TRUE(identical(shared.k, alone.k)) << c;
      EXPECT_TRUE(identical(shared.v, alone.v)) << c;
    }
    set_num_threads(before);
  }
}

TEST(SelectedAttentionExact, GradientsOfASequenceDoNotDependOnItsBatch) {
  const auto in = make_input({"", 120, 120, 6, 2, 16, 8, 8, 5}, 3);
  const auto grad_o = make_grad(in);
  const auto all = run(selected_attention, in, grad_o);
  auto one = in;
  for (auto* t : {&one.q, &one.k, &one.v, &one.blocks}) *t = t->narrow(0, 1, 1);
  const auto alone = run(selected_attention, one, grad_o.narrow(0, 1, 1));
  EXPECT_TRUE(identical(alone.q, all.q.narrow(0, 1, 1)));
  EXPECT_TRUE(identical(alone.k, all.k.narrow(0, 1, 1)));
  EXPECT_TRUE(identical(alone.v, all.v.narrow(0, 1, 1)));
}

TEST(SelectedAttentionLimits, RowsWithoutKeysGiveZeroAndNoGradient) {
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    auto in = with_type(make_input({"", 40, 40, 4, 2, 16, 8, 8, 3}), type);
    in.blocks.select(1, 3).fill_(-1);                                        // empty list
    in.blocks.select(1, 5).copy_(torch::tensor({3, 4, -1}, torch::kInt32));  // all in the future
    const auto out = run(selected_attention, in, make_grad(in));
    const auto truth = run(selected_attention_reference, with_type(in, torch::kFloat64), make_grad(in));
    for (const int64_t row : {3, 5}) {
      EXPECT_EQ(out.o.select(1, row).abs().max().item<double>(), 0);
      EXPECT_EQ(out.q.select(1, row).abs().max().item<double>(), 0);
    }
    EXPECT_TRUE(close(out.k, truth.k, 5e-5));
    EXPECT_TRUE(close(out.v, truth.v, 5e-5));
  }
}

TEST(SelectedAttentionLimits, UnlistedKeysAndTheFutureAreNotRead) {
  auto in = make_input({"", 40, 40, 2, 1, 8, 8, 8, 3});
  in.blocks.copy_(torch::tensor({0, 2, 4}, torch::kInt32));
  const auto before = selected_attention(in).narrow(1, 0, 37).clone();
  for (auto* t : {&in.k, &in.v}) {
    t->narrow(1, 8, 8).fill_(std::nan(""));
    t->narrow(1, 37, 3).fill_(std::nan(""));
  }
  EXPECT_TRUE(identical(selected_attention(in).narrow(1, 0, 37), before));
}

TEST(SelectedAttentionErrors, SayWhatIsWrong) {
  const auto good = make_input({"", 4, 20, 4, 2, 8, 8, 4, 3});
  const auto message = [](const SelectedAttentionInput& in) -> std::string {
    return test::error_of([&] { selected_attention(in); });
  };
  const auto with_list = [&](std::vector<int> list) {
    auto in = good;
    in.blocks = good.blocks.clone();
    in.blocks[1][2][1].copy_(torch::tensor(list));
    return in;
  };
  for (const auto& list : {std::vector{0, 0, 1}, {2, 1, -1}, {-1, 0, -1}, {0, 5, -1}, {-2, -1, -1}, {0, -2, -1}}) {
    for (const auto type : {torch::kInt32, torch::kInt64}) {
      auto in = with_list(list);
      in.blocks = in.blocks.to(type);
      EXPECT_NE(message(in).find("blocks[1, 2, 1]"), std::string::npos) << message(in);
    }
  }
  EXPECT_EQ(message(with_list({0, 4, -1})), "");
  auto in = good;
  in.block_size = 0;
  EXPECT_NE(message(in).find("block_size must be at least 1"), std::string::npos) << message(in);
  in = good;
  in.first_query = 17;
  EXPECT_NE(message(in).find("queries 17 .. 20 and 20 keys"), std::string::npos) << message(in);
  in = good;
  in.blocks = in.blocks.narrow(1, 0, 3);
  EXPECT_NE(message(in).find("blocks must be [2, 4, 2, N]"), std::string::npos) << message(in);
  in = good;
  in.blocks = in.blocks.to(torch::kFloat32);
  EXPECT_NE(message(in).find("int32 or int64"), std::string::npos) << message(in);
  in = good;
  in.q = in.q.narrow(2, 0, 3);
  EXPECT_NE(message(in).find("3 query heads, 2 key heads"), std::string::npos) << message(in);
  in = good;
  in.v = in.v.narrow(1, 0, 5);
  EXPECT_NE(message(in).find("equal B, S and Hk"), std::string::npos) << message(in);
  EXPECT_NE(message(with_type(good, torch::kHalf)).find("fp32, bf16 or fp64"), std::string::npos);
}

TEST(SelectedAttention, ABlockLongerThanTheSequenceIsAllOfIt) {
  torch::manual_seed(4);
  SelectedAttentionInput in{.q = torch::randn({1, 9, 2, 8}).requires_grad_(),
                            .k = torch::randn({1, 9, 1, 8}).requires_grad_(),
                            .v = torch::randn({1, 9, 1, 8}).requires_grad_(),
                            .blocks = torch::zeros({1, 9, 1, 1}, torch::kInt32),
                            .block_size = 2000000000,
                            .scale = 0.3};
  const auto o = selected_attention(in);
  o.sum().backward();
  in.block_size = 9;
  EXPECT_TRUE(test::identical(o.detach(), selected_attention(in).detach()));
  EXPECT_TRUE(torch::isfinite(in.k.grad()).all().item<bool>());
}

}  // namespace
}  // namespace lt2
