// linear_recurrence: every kind and form against the fp64 loop, and the properties that models rely on.
#include "ops/linear_recurrence/op.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/threads.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;
using torch::Tensor;

constexpr double kValues = 2e-5, kGradients = 5e-5, kBf16 = 2e-2;

enum class Fade { kNone, kScalar, kVector };

struct Kind {
  const char* name;
  Fade fade;
  bool delta;
};
std::ostream& operator<<(std::ostream& s, const Kind& kind) { return s << kind.name; }
constexpr Kind kKinds[] = {{"la", Fade::kNone, false},       {"deltanet", Fade::kNone, true},
                           {"mamba2", Fade::kScalar, false}, {"gdn", Fade::kScalar, true},
                           {"gla", Fade::kVector, false},    {"kda", Fade::kVector, true}};

struct Shape {
  int64_t B = 2, L = 65, H = 3, K = 12, V = 20;
  bool state = true;
  double strong = 0.1;  // share of the log decays that lie around -20
};

Tensor normal(torch::IntArrayRef size) { return torch::randn(size); }

LinearRecurrenceInput make_input(const Kind& kind, const Shape& s) {
  torch::manual_seed(1 + s.L * 7 + s.K);
  LinearRecurrenceInput in;
  const auto unit = [](const Tensor& x) { return x / x.norm(2, -1, true); };
  in.q = unit(normal({s.B, s.L, s.H, s.K}));
  in.k = unit(normal({s.B, s.L, s.H, s.K}));
  in.v = normal({s.B, s.L, s.H, s.V});
  if (kind.fade != Fade::kNone) {
    const std::vector<int64_t> scalar{s.B, s.L, s.H}, vector{s.B, s.L, s.H, s.K};
    const auto& size = kind.fade == Fade::kScalar ? scalar : vector;
    const auto mild = -0.1 * torch::rand(size), strong = -20 + normal(size);
    in.g = torch::where(torch::rand(size) < s.strong, strong, mild);
  }
  if (kind.delta) in.beta = torch::rand({s.B, s.L, s.H});
  if (s.state) in.state = normal({s.B, s.H, s.K, s.V});
  in.scale = 1 / std::sqrt(static_cast<double>(s.K));
  return in;
}

std::vector<Tensor*> tensors(LinearRecurrenceInput& in) {
  std::vector<Tensor*> all;
  for (auto* x : {&in.q, &in.k, &in.v, &in.g, &in.beta, &in.state}) {
    if (x->defined()) all.push_back(x);
  }
  return all;
}

LinearRecurrenceInput map(LinearRecurrenceInput in, const std::function<Tensor(const Tensor&)>& f) {
  for (auto* x : tensors(in)) *x = f(*x);
  return in;
}

LinearRecurrenceInput to_type(LinearRecurrenceInput in, torch::ScalarType type) {
  for (auto* x : {&in.q, &in.k, &in.v}) *x = x->to(type);
  return in;
}

// Tokens [begin, end) of a sequence that goes on from `state`.
LinearRecurrenceInput part(const LinearRecurrenceInput& in, int64_t begin, int64_t end, const Tensor& state) {
  auto cut = in;
  for (auto* x : {&cut.q, &cut.k, &cut.v, &cut.g, &cut.beta}) {
    if (x->defined()) *x = x->narrow(1, begin, end - begin);
  }
  cut.state = state;
  cut.position = in.position + begin;
  return cut;
}

using Form = std::function<LinearRecurrenceOutput(const LinearRecurrenceInput&)>;

// Gradients of a random weighting of both outputs.
std::vector<Tensor> gradients(const Form& form, const LinearRecurrenceInput& given, bool with_state = true) {
  auto in = map(given, [](const Tensor& x) { return x.detach().clone().requires_grad_(); });
  const auto out = form(in);
  torch::manual_seed(5);
  auto loss = (out.o.to(torch::kFloat64) * torch::randn(out.o.sizes(), torch::kFloat64)).sum();
  if (with_state)
    loss = loss + (out.state.to(torch::kFloat64) * torch::randn(out.state.sizes(), torch::kFloat64)).sum();
  loss.backward();
  std::vector<Tensor> all;
  for (auto* x : tensors(in)) all.push_back(x->grad());
  return all;
}

void expect_all_close(const Form& form, const LinearRecurrenceInput& in, double values, double grads) {
  const auto out = form(in), truth = linear_recurrence_reference(in);
  EXPECT_TRUE(close(out.o, truth.o, values));
  EXPECT_TRUE(close(out.state, truth.state, values));
  if (grads == 0) return;
  const auto fast = gradients(form, in), slow = gradients(linear_recurrence_reference, in);
  const char* names[] = {"q", "k", "v", "g", "beta", "state"};
  auto copy = in;
  const auto all = tensors(copy);
  for (size_t i = 0; i < fast.size(); ++i) {
    const auto& fields = {&copy.q, &copy.k, &copy.v, &copy.g, &copy.beta, &copy.state};
    const auto index = std::find(fields.begin(), fields.end(), all[i]) - fields.begin();
    EXPECT_TRUE(close(fast[i], slow[i], grads)) << "gradient of " << names[index];
    EXPECT_EQ(fast[i].dtype(), all[i]->dtype());
  }
}

Form torch_form(int64_t chunk) {
  return [chunk](const LinearRecurrenceInput& in) { return linear_recurrence_torch(in, chunk); };
}

class LinearRecurrence : public ::testing::TestWithParam<Kind> {};

TEST_P(LinearRecurrence, OpMatchesReferenceAtEveryLength) {
  for (const int64_t L : {1, 7, 37, 63, 64, 65, 130, 200}) {
    for (const bool state : {false, true}) {
      SCOPED_TRACE(fmt::format("L {} state {}", L, state));
      expect_all_close(linear_recurrence, make_input(GetParam(), {.L = L, .state = state}), kValues, kGradients);
    }
  }
}

TEST_P(LinearRecurrence, OpMatchesReferenceAtOddWidths) {
  for (const auto& [K, V] : {std::pair<int64_t, int64_t>{12, 48}, {20, 96}, {48, 12}, {96, 20}, {1, 1}, {144, 130}}) {
    SCOPED_TRACE(fmt::format("K {} V {}", K, V));
    expect_all_close(linear_recurrence, make_input(GetParam(), {.B = 1, .L = 83, .H = 1, .K = K, .V = V}), kValues,
                     kGradients);
  }
}

TEST_P(LinearRecurrence, TorchFormMatchesReference) {
  for (const int64_t L : {1, 37, 65, 130}) {
    SCOPED_TRACE(fmt::format("L {}", L));
    auto in = make_input(GetParam(), {.L = L, .state = L != 37});
    in.position = 50;
    expect_all_close(torch_form(16), in, kValues, kGradients);
    expect_all_close(torch_form(64), in, kValues, L == 130 ? kGradients : 0);
  }
}

TEST_P(LinearRecurrence, TorchFormInDoubleIsExact) {
  const auto in = map(make_input(GetParam(), {.L = 100}), [](const Tensor& x) { return x.to(torch::kFloat64); });
  expect_all_close(linear_recurrence, in, 1e-12, 1e-11);
}

TEST_P(LinearRecurrence, StepsMatchReference) {
  expect_all_close(linear_recurrence_steps, make_input(GetParam(), {.L = 70, .V = 83}), kValues, 0);
}

TEST_P(LinearRecurrence, ExtremeDecays) {
  if (GetParam().fade == Fade::kNone) GTEST_SKIP();
  for (const double strong : {0.02, 0.5, 1.0}) {
    SCOPED_TRACE(fmt::format("share of strong decays {}", strong));
    expect_all_close(linear_recurrence, make_input(GetParam(), {.L = 150, .strong = strong}), kValues, kGradients);
  }
  auto in = make_input(GetParam(), {.L = 100});
  in.g = torch::zeros_like(in.g);
  expect_all_close(linear_recurrence, in, kValues, kGradients);
  in.g = in.g - 1000;
  expect_all_close(linear_recurrence, in, kValues, kGradients);
}

// The gradient that reaches a decay's parameters weights dg by g: noise where the true dg is e^-20 would show here.
TEST_P(LinearRecurrence, GradientOfTinyDecaysIsNoNoise) {
  if (GetParam().fade == Fade::kNone) GTEST_SKIP();
  const auto in = make_input(GetParam(), {.L = 150, .strong = 0.5});
  const auto fast = gradients(linear_recurrence, in)[3], slow = gradients(linear_recurrence_reference, in)[3];
  const auto tiny = in.g < -15;
  EXPECT_TRUE(close(fast.masked_select(tiny), slow.masked_select(tiny), 1e-4));
}

TEST_P(LinearRecurrence, IdenticalKeysAndAllWriteStrengths) {
  if (!GetParam().delta) GTEST_SKIP();
  for (const double beta : {0.0, 0.5, 1.0, 2.0}) {
    SCOPED_TRACE(fmt::format("beta {}", beta));
    auto in = make_input(GetParam(), {.L = 130, .strong = 0});
    in.k = in.k.narrow(1, 0, 1).expand_as(in.k);
    in.beta = torch::full_like(in.beta, beta);
    expect_all_close(linear_recurrence, in, kValues, kGradients);
  }
}

TEST_P(LinearRecurrence, Bf16) {
  const auto in = to_type(make_input(GetParam(), {.L = 130}), torch::kBFloat16);
  expect_all_close(linear_recurrence, in, kBf16, kBf16);
  EXPECT_EQ(linear_recurrence(in).o.dtype(), torch::kBFloat16);
  EXPECT_EQ(linear_recurrence(in).state.dtype(), torch::kFloat32);
}

TEST_P(LinearRecurrence, SplitAtChunkBordersChangesNoBit) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t position : {0, 13}) {
      auto in = to_type(make_input(GetParam(), {.L = 197}), type);
      in.position = position;
      const auto whole = linear_recurrence(in);
      const int64_t border = 2 * kRecurrenceChunk - position;
      const auto head = linear_recurrence(part(in, 0, border, in.state));
      const auto tail = linear_recurrence(part(in, border, 197, head.state));
      EXPECT_TRUE(identical(torch::cat({head.o, tail.o}, 1), whole.o));
      EXPECT_TRUE(identical(tail.state, whole.state));
    }
  }
}

TEST_P(LinearRecurrence, AnySplitAgrees) {
  const auto in = make_input(GetParam(), {.L = 140});
  const auto truth = linear_recurrence_reference(in);
  for (const auto& cuts : {std::vector<int64_t>{0, 1, 140}, {0, 5, 37, 100, 139, 140}, {0, 64, 65, 66, 140}}) {
    std::vector<Tensor> o;
    auto state = in.state;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const auto out = linear_recurrence(part(in, cuts[i], cuts[i + 1], state));
      o.push_back(out.o);
      state = out.state;
    }
    EXPECT_TRUE(close(torch::cat(o, 1), truth.o, kValues));
    EXPECT_TRUE(close(state, truth.state, kValues));
  }
}

TEST_P(LinearRecurrence, OtherSequencesAndThreadsChangeNoBit) {
  const auto in = make_input(GetParam(), {.B = 3, .L = 77, .K = 20});
  const int threads = num_threads();
  const auto out = linear_recurrence(in);
  const auto grads = gradients(linear_recurrence, in);
  set_num_threads(1);
  EXPECT_TRUE(identical(linear_recurrence(in).o, out.o));
  const auto alone = gradients(linear_recurrence, in);
  for (size_t i = 0; i < grads.size(); ++i) EXPECT_TRUE(identical(alone[i], grads[i]));
  set_num_threads(threads);
  const auto one = linear_recurrence(map(in, [](const Tensor& x) { return x.narrow(0, 1, 1); }));
  EXPECT_TRUE(identical(one.o, out.o.narrow(0, 1, 1)));
  EXPECT_TRUE(identical(one.state, out.state.narrow(0, 1, 1)));
}

TEST_P(LinearRecurrence, InplaceStateIsTheSame) {
  for (const int64_t L : {1, 40}) {
    auto in = make_input(GetParam(), {.L = L});
    const auto out = linear_recurrence(in);
    in.inplace_state = true;
    const auto inplace = linear_recurrence(in);
    EXPECT_TRUE(identical(inplace.o, out.o));
    EXPECT_TRUE(identical(in.state, out.state));
    EXPECT_EQ(inplace.state.data_ptr(), in.state.data_ptr());
  }
}

TEST_P(LinearRecurrence, StridedAndExpandedInputs) {
  auto in = make_input(GetParam(), {.B = 1, .L = 70});
  const auto joined = torch::cat({in.q, in.k}, -1);
  auto strided = in;
  strided.q = joined.narrow(-1, 0, 12);
  strided.k = joined.narrow(-1, 12, 12);
  strided.v = in.v.transpose(1, 2).contiguous().transpose(1, 2);
  EXPECT_TRUE(identical(linear_recurrence(strided).o, linear_recurrence(in).o));
  in.k = in.k.narrow(2, 0, 1).contiguous();
  auto shared = in;
  shared.k = in.k.expand({1, 70, 3, 12});
  expect_all_close(linear_recurrence, shared, kValues, kGradients);
}

TEST_P(LinearRecurrence, GradientOfOneOutputAlone) {
  const auto in = make_input(GetParam(), {.L = 70, .state = false});
  const auto fast = gradients(linear_recurrence, in, false), slow = gradients(linear_recurrence_reference, in, false);
  for (size_t i = 0; i < fast.size(); ++i) EXPECT_TRUE(close(fast[i], slow[i], kGradients));
  const auto state_only = [](const Form& form, LinearRecurrenceInput x) {
    x.v = x.v.detach().clone().requires_grad_();
    form(x).state.square().sum().backward();
    return x.v.grad();
  };
  EXPECT_TRUE(close(state_only(linear_recurrence, in), state_only(linear_recurrence_reference, in), kGradients));
}

TEST_P(LinearRecurrence, SixtyFourThousandTokensStayFinite) {
  const auto out =
      linear_recurrence(make_input(GetParam(), {.B = 1, .L = 65536, .H = 1, .K = 8, .V = 8, .strong = 0.01}));
  EXPECT_TRUE(out.o.isfinite().all().item<bool>());
  EXPECT_TRUE(out.state.isfinite().all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Kinds, LinearRecurrence, ::testing::ValuesIn(kKinds),
                         [](const auto& i) { return i.param.name; });

TEST(LinearRecurrenceErrors, AreOneClearLine) {
  const auto good = make_input(kKinds[3], {});
  const auto message = [&](auto&& change) {
    auto in = good;
    change(in);
    return test::error_of([&] { linear_recurrence(in); });
  };
  EXPECT_EQ(message([](auto& in) { in.k = in.k.narrow(1, 0, 64); }),
            "linear_recurrence: k must be [2, 65, 3, 12], found [2, 64, 3, 12]");
  EXPECT_EQ(message([](auto& in) { in.state = in.state.transpose(2, 3); }),
            "linear_recurrence: state must be [2, 3, 12, 20], found [2, 3, 20, 12]");
  EXPECT_EQ(message([](auto& in) { in.beta = in.beta.narrow(2, 0, 1); }),
            "linear_recurrence: beta must be [2, 65, 3], found [2, 65, 1]");
  EXPECT_EQ(message([](auto& in) { in.v = in.v.to(torch::kBFloat16); }),
            "linear_recurrence: q, k and v must have one type, found Float, Float and BFloat16");
  EXPECT_NE(message([](auto& in) {
              in.inplace_state = true;
              in.state = Tensor();
            }).find("inplace_state"),
            std::string::npos);
  EXPECT_NE(message([](auto& in) {
              in.inplace_state = true;
              in.v.requires_grad_();
            }).find("without gradients"),
            std::string::npos);
}

}  // namespace
}  // namespace lt2
