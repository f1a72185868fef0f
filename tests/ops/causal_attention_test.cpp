// causal_attention against the fp64 reference, and the properties that decoding and batching rest on.
#include "ops/causal_attention/op.h"

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
  int64_t L, S, H, Hk, E;
  int64_t window = 0;  // 0: none
  int64_t first_position = 0;
  double logits = 1;  // factor on q
  int64_t Ev = 0;     // 0: E
  bool values_in_keys = false;
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

CausalAttentionInput make_input(const Case& c, int64_t B = 2) {
  torch::manual_seed(7);
  CausalAttentionInput in;
  in.q = torch::randn({B, c.L, c.H, c.E}) * c.logits;
  in.k = torch::randn({B, c.S, c.Hk, c.E});
  in.v = c.values_in_keys ? in.k.narrow(3, 0, c.Ev) : torch::randn({B, c.S, c.Hk, c.Ev > 0 ? c.Ev : c.E});
  if (c.window > 0) in.window = c.window;
  in.scale = 1 / std::sqrt(static_cast<double>(c.E));
  in.first_position = c.first_position;
  return in;
}

CausalAttentionInput with_type(CausalAttentionInput in, torch::ScalarType type) {
  for (auto* t : {&in.q, &in.k, &in.v}) *t = t->detach().to(type);
  return in;
}

struct Result {
  torch::Tensor o, q, k, v;
};

template <typename Op>
Result run(Op op, CausalAttentionInput in, const torch::Tensor& grad_o) {
  for (auto* t : {&in.q, &in.k, &in.v}) t->requires_grad_();
  const auto o = op(in);
  const auto grads = torch::autograd::grad({o}, {in.q, in.k, in.v}, {grad_o.to(o.scalar_type())});
  return {o.detach(), grads[0], grads[1], grads[2]};
}

torch::Tensor make_grad(const CausalAttentionInput& in) {
  torch::manual_seed(8);
  return torch::randn({in.q.size(0), in.q.size(1), in.q.size(2), in.v.size(3)});
}

class CausalAttention : public ::testing::TestWithParam<Case> {};

TEST_P(CausalAttention, MatchesReference) {
  const auto in = make_input(GetParam());
  const auto grad_o = make_grad(in);
  const auto fast = run(causal_attention, in, grad_o);
  const auto truth = run(causal_attention_reference, with_type(in, torch::kFloat64), grad_o);
  // Logits with a standard deviation of 100, up to about 450: from 256 on fp32 numbers lie 3e-5 apart, and that error
  // goes into every probability, whatever the algorithm.
  const double loss = GetParam().logits > 1 ? 20 : 1;
  EXPECT_TRUE(close(fast.o, truth.o, 1e-5 * loss));
  EXPECT_TRUE(close(fast.q, truth.q, 5e-5 * loss));
  EXPECT_TRUE(close(fast.k, truth.k, 5e-5 * loss));
  EXPECT_TRUE(close(fast.v, truth.v, 5e-5 * loss));
  // Without autograd the same bits.
  EXPECT_TRUE(identical(causal_attention(in), fast.o));
}

TEST_P(CausalAttention, Bf16MatchesReference) {
  if (GetParam().logits > 1) GTEST_SKIP() << "a bf16 output gradient leaves nothing of a saturated softmax";
  const auto in = with_type(make_input(GetParam()), torch::kBFloat16);
  const auto grad_o = make_grad(in).to(torch::kBFloat16);
  const auto fast = run(causal_attention, in, grad_o);
  const auto truth = run(causal_attention_reference, with_type(in, torch::kFloat64), grad_o);
  EXPECT_EQ(fast.o.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(close(fast.o, truth.o, 2e-2));
  EXPECT_TRUE(close(fast.q, truth.q, 2e-2));
  EXPECT_TRUE(close(fast.k, truth.k, 2e-2));
  EXPECT_TRUE(close(fast.v, truth.v, 2e-2));
}

TEST_P(CausalAttention, TorchFormMatchesReference) {
  const auto in = with_type(make_input(GetParam()), torch::kFloat64);
  const auto grad_o = make_grad(in);
  const auto blocks = run(causal_attention, in, grad_o), truth = run(causal_attention_reference, in, grad_o);
  EXPECT_TRUE(close(blocks.o, truth.o, 1e-12));
  EXPECT_TRUE(close(blocks.q, truth.q, 1e-12));
  EXPECT_TRUE(close(blocks.k, truth.k, 1e-12));
  EXPECT_TRUE(close(blocks.v, truth.v, 1e-12));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, CausalAttention,
    ::testing::Values(
        Case{"one_token", 1, 1, 4, 4, 64}, Case{"two_tokens_gqa", 2, 2, 4, 2, 8},
        Case{"odd_head_dim", 33, 33, 4, 2, 12}, Case{"block_minus_1", 63, 63, 2, 2, 96},
        Case{"block", 64, 64, 4, 1, 64}, Case{"block_plus_1", 65, 65, 3, 1, 128}, Case{"mha_130", 130, 130, 3, 3, 128},
        Case{"gqa_257", 257, 257, 6, 2, 64}, Case{"mqa_257", 257, 257, 5, 1, 8}, Case{"many_tiles", 400, 400, 3, 3, 12},
        Case{"window_1", 130, 130, 4, 2, 64, 1}, Case{"window_3", 257, 257, 3, 1, 12, 3},
        Case{"window_48", 257, 257, 2, 2, 64, 48}, Case{"window_64", 257, 257, 4, 2, 96, 64},
        Case{"window_65", 257, 257, 5, 1, 8, 65}, Case{"window_above_length", 130, 130, 4, 2, 64, 1000},
        Case{"window_huge", 65, 65, 2, 2, 8, INT64_MAX}, Case{"continued", 33, 200, 4, 2, 64, 0, 0},
        Case{"continued_odd_start", 70, 171, 4, 4, 12, 0, 37}, Case{"continued_window", 70, 171, 6, 2, 64, 48, 37},
        Case{"one_step", 1, 300, 4, 4, 128}, Case{"one_step_gqa", 1, 171, 8, 2, 64, 0, 37},
        Case{"one_step_window", 1, 171, 4, 1, 96, 65, 6400 + 37}, Case{"two_segments", 3, 5000, 4, 2, 8},
        Case{"two_segments_tiles", 200, 2200, 2, 1, 12, 0, 1000}, Case{"extreme_logits", 130, 130, 4, 2, 64, 0, 0, 100},
        Case{"extreme_logits_step", 1, 300, 4, 2, 64, 0, 0, 100},
        Case{"narrow_values", 257, 257, 3, 3, 96, 0, 0, 1, 64}, Case{"wide_values", 257, 257, 4, 2, 12, 0, 0, 1, 40},
        Case{"narrow_values_window", 130, 130, 4, 4, 24, 33, 0, 1, 7},
        Case{"values_in_keys", 130, 130, 5, 1, 40, 0, 0, 1, 32, true},
        Case{"narrow_values_step", 1, 300, 4, 4, 96, 0, 0, 1, 64},
        Case{"wide_values_step", 1, 2300, 2, 1, 8, 0, 0, 1, 33},
        Case{"values_in_keys_step", 1, 2300, 12, 1, 72, 0, 37, 1, 64, true},
        Case{"values_in_keys_few_heads", 1, 300, 4, 1, 72, 0, 0, 1, 64, true}),
    [](const auto& i) { return i.param.name; });

TEST(CausalAttentionExact, RowsOfABatchAreIndependent) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const Case& c : {Case{"train", 257, 257, 4, 2, 64}, Case{"step", 1, 2500, 4, 2, 64},
                          Case{"steps", 5, 300, 6, 2, 12, 65, 37}}) {
      const auto in = with_type(make_input(c, 3), type);
      const auto all = causal_attention(in);
      for (int64_t b = 0; b < 3; ++b) {
        auto one = in;
        for (auto* t : {&one.q, &one.k, &one.v}) *t = t->narrow(0, b, 1);
        EXPECT_TRUE(identical(causal_attention(one), all.narrow(0, b, 1))) << c;
      }
    }
  }
}

/// Queries [begin, end) of a whole prefill, with the keys before them that the window still needs (or all).
torch::Tensor part(const CausalAttentionInput& in, int64_t begin, int64_t end, bool drop_old_keys) {
  auto piece = in;
  const int64_t first = drop_old_keys && in.window ? std::max<int64_t>(0, begin - *in.window + 1) : 0;
  piece.q = in.q.narrow(1, begin, end - begin);
  piece.k = in.k.narrow(1, first, end - first);
  piece.v = in.v.narrow(1, first, end - first);
  piece.first_position = first;
  return causal_attention(piece);
}

TEST(CausalAttentionExact, SplitPrefillEqualsWhole) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const Case& c :
         {Case{"mha", 330, 330, 3, 3, 64}, Case{"gqa", 330, 330, 8, 2, 12}, Case{"mqa_window", 330, 330, 5, 1, 8, 70},
          Case{"window_1", 330, 330, 2, 2, 64, 1}, Case{"two_segments", 2200, 2200, 2, 1, 8},
          Case{"narrow_values", 330, 330, 2, 2, 40, 0, 0, 1, 24},
          Case{"values_in_keys", 330, 330, 12, 1, 40, 0, 0, 1, 24, true}}) {
      const auto in = with_type(make_input(c, 1), type);
      const auto whole = causal_attention(in);
      for (const int64_t split : {1, 64, 65, 100, 128, 320}) {
        for (const bool drop : {false, true}) {
          const auto head = part(in, 0, split, drop), tail = part(in, split, c.L, drop);
          EXPECT_TRUE(identical(torch::cat({head, tail}, 1), whole)) << c << " split at " << split;
        }
      }
      for (const int64_t t : {0, 63, 64, 65, 200, 329}) {
        EXPECT_TRUE(identical(part(in, t, t + 1, true), whole.narrow(1, t, 1))) << c << " step " << t;
      }
      EXPECT_TRUE(identical(part(in, c.L - 1, c.L, true), whole.narrow(1, c.L - 1, 1))) << c;
    }
  }
}

TEST(CausalAttentionExact, ValuesInKeysEqualACopy) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const Case& c :
         {Case{"prefill", 130, 130, 6, 1, 40, 0, 0, 1, 32, true}, Case{"step", 1, 300, 12, 1, 40, 0, 0, 1, 32, true}}) {
      auto in = make_input(c);
      for (auto* t : {&in.q, &in.k}) *t = t->to(type);
      in.v = in.k.narrow(3, 0, c.Ev);
      auto copy = in;
      copy.v = in.v.clone();
      EXPECT_TRUE(identical(causal_attention(in), causal_attention(copy))) << c;
    }
  }
}

TEST(CausalAttentionTorchForm, KeepsNothingOfTheSizeOfTheScores) {
  auto in = with_type(make_input({"", 600, 600, 1, 1, 3}, 1), torch::kFloat64);
  for (auto* t : {&in.q, &in.k, &in.v}) t->requires_grad_();
  const auto o = causal_attention(in);
  // One node that leads straight to the three inputs: nothing else is kept.
  const auto& edges = o.grad_fn()->next_edges();
  ASSERT_EQ(edges.size(), 3);
  for (const auto& edge : edges) EXPECT_TRUE(edge.function->next_edges().empty());
}

TEST(CausalAttentionExact, ThreadsDoNotMatter) {
  const int before = num_threads();
  for (const Case& c : {Case{"mha", 257, 257, 9, 9, 12}, Case{"mqa", 257, 257, 4, 1, 64},
                        Case{"step", 1, 9000, 2, 1, 16}, Case{"window", 1, 5000, 2, 1, 16, 3000}}) {
    const auto in = make_input(c);
    const auto grad_o = make_grad(in);
    set_num_threads(1);
    const auto alone = run(causal_attention, in, grad_o);
    for (const int threads : {2, 5}) {
      set_num_threads(threads);
      const auto shared = run(causal_attention, in, grad_o);
      EXPECT_TRUE(identical(shared.o, alone.o)) << c;
      EXPECT_TRUE(identical(shared.q, alone.q)) << c;
      EXPECT_TRUE(identical(shared.k, alone.k)) << c;
      EXPECT_TRUE(identical(shared.v, alone.v)) << c;
    }
    set_num_threads(before);
  }
}

TEST(CausalAttentionExact, StridesDoNotMatter) {
  for (const Case& c : {Case{"prefill", 130, 130, 4, 2, 64}, Case{"step", 1, 130, 4, 2, 64}}) {
    const auto in = make_input(c);
    // A cache [B, Hk, capacity, E], seen as [B, S, Hk, E]; q out of a wider projection; values not even dense.
    auto strided = in;
    const auto cache = torch::full({2, 2, 200, 64}, std::nan(""));
    strided.k = cache.narrow(2, 10, 130).transpose(1, 2);
    strided.k.copy_(in.k);
    strided.q = torch::cat({in.q, in.q}, 2).narrow(2, 0, 4);
    strided.v = in.v.transpose(2, 3).contiguous().transpose(2, 3);
    EXPECT_TRUE(identical(causal_attention(strided), causal_attention(in))) << c;
    const auto grad_o = torch::ones({1}).expand(in.q.sizes());  // as the gradient of a sum: every stride zero
    const auto a = run(causal_attention, strided, grad_o), b = run(causal_attention, in, grad_o.contiguous());
    EXPECT_TRUE(identical(a.q, b.q)) << c;
    EXPECT_TRUE(identical(a.k, b.k)) << c;
    EXPECT_TRUE(identical(a.v, b.v)) << c;
  }
}

TEST(CausalAttentionExact, TheFutureIsNotRead) {
  auto in = make_input({"", 100, 100, 2, 2, 16});
  const auto before = causal_attention(in).narrow(1, 0, 70).clone();
  in.k.narrow(1, 70, 30).fill_(1e6);
  in.v.narrow(1, 70, 30).fill_(1e30);
  EXPECT_TRUE(identical(causal_attention(in).narrow(1, 0, 70), before));
}

TEST(CausalAttentionLimits, HugeLogitsStayFinite) {
  const auto in = make_input({"", 130, 130, 2, 1, 16, 0, 0, 1e30});
  const auto out = run(causal_attention, in, make_grad(in));
  for (const auto& t : {out.o, out.q, out.k, out.v}) EXPECT_TRUE(torch::isfinite(t).all().item<bool>());
}

TEST(CausalAttentionLimits, NanIsNotHidden) {
  auto in = make_input({"", 70, 70, 1, 1, 16}, 1);
  in.k[0][5][0][3] = std::nan("");
  const auto bad = torch::isnan(causal_attention(in)).any(-1).reshape({-1});
  EXPECT_FALSE(bad.narrow(0, 0, 5).any().item<bool>());
  EXPECT_TRUE(bad.narrow(0, 5, 65).all().item<bool>());
}

TEST(CausalAttentionErrors, SayWhatIsWrong) {
  const auto good = make_input({"", 4, 6, 4, 2, 8});
  const auto message = [](const CausalAttentionInput& in) -> std::string {
    return test::error_of([&] { causal_attention(in); });
  };
  auto in = good;
  in.window = 0;
  EXPECT_NE(message(in).find("window must be at least 1"), std::string::npos) << message(in);
  in = good;
  in.k = in.k.narrow(1, 0, 3), in.v = in.v.narrow(1, 0, 3);
  EXPECT_NE(message(in).find("4 queries, 3 keys"), std::string::npos) << message(in);
  in = good;
  in.q = in.q.narrow(2, 0, 3);
  EXPECT_NE(message(in).find("3 query heads, 2 key heads"), std::string::npos) << message(in);
  in = good;
  in.v = in.v.narrow(1, 0, 5);
  EXPECT_NE(message(in).find("equal B, S and Hk"), std::string::npos) << message(in);
  in = good;
  in.q = in.q.narrow(3, 0, 4);
  EXPECT_NE(message(in).find("head dimensions"), std::string::npos) << message(in);
  in = good;
  in.q = in.q.narrow(0, 0, 1);
  EXPECT_NE(message(in).find("batch size"), std::string::npos) << message(in);
  in = good;
  in.k = in.k.to(torch::kBFloat16);
  EXPECT_NE(message(in).find("share type"), std::string::npos) << message(in);
  EXPECT_NE(message(with_type(good, torch::kHalf)).find("fp32, bf16 or fp64"), std::string::npos);
  in = good;
  in.q = in.q[0];
  EXPECT_NE(message(in).find("[B, L, H, E]"), std::string::npos) << message(in);
}

}  // namespace
}  // namespace lt2
