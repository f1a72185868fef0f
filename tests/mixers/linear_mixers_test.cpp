// What mixers with a linear recurrence guarantee in addition to every mixer: bit-exact splits and batches, gradients,
// sizes, unusual options, and the state carried across loops.
#include <map>

#include "base/error.h"
#include "config/patterns.h"
#include "mixers/linear_mixer.h"
#include "mixers/mixer.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;
using torch::Tensor;

constexpr int64_t kDim = 48;

struct Case {
  std::string name, type;
  std::function<void(ModelConfig&)> change = [](ModelConfig&) {};
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& type : linear_layer_type_names()) {
    all.push_back({type, type});
  }
  all.push_back({"gdn_negative", "gdn", [](ModelConfig& c) { c.gdn.allow_neg_eigval = true; }});
  all.push_back({"kda_wide", "kda", [](ModelConfig& c) { c.kda.expand_v = 1.5; }});
  all.push_back({"mamba2_conv_2", "mamba2", [](ModelConfig& c) {
                   c.mamba2.d_conv = 2;
                   c.mamba2.d_state = 10;
                 }});
  all.push_back({"mamba2_conv_1", "mamba2", [](ModelConfig& c) {
                   c.mamba2.d_conv = 1;
                   c.mamba2.expand = 3;
                 }});
  all.push_back({"hgrn2_conv", "hgrn2", [](ModelConfig& c) { c.hgrn2.use_short_conv = true; }});
  all.push_back({"hgrn2_conv_7_bias", "hgrn2", [](ModelConfig& c) {
                   c.hgrn2.use_short_conv = c.hgrn2.conv_bias = true;
                   c.hgrn2.conv_size = 7;
                 }});
  return all;
}

ModelConfig config_of(const Case& c, bool carry) {
  ModelConfig config;
  config.dim = kDim;
  config.n_layers = 1;
  config.n_heads = 3;  // odd on purpose
  config.vocab_size = 10;
  config.layer_pattern = c.type;
  if (carry) config.state_carry = "token";
  c.change(config);
  validate_model(config);
  return config;
}

std::shared_ptr<Mixer> make(const Case& c, bool carry = false) {
  auto mixer = make_mixer(c.type, config_of(c, carry));
  Initialiser init(3, 1 / std::sqrt(static_cast<double>(kDim)));
  mixer->initialise(init);
  torch::NoGradGuard no_grad;
  torch::manual_seed(4);
  for (auto& [name, p] : parameters_of(*mixer)) {
    // Initially zero, and zero has no effect.
    if (name == "state_gate" || name.ends_with(".1.bias")) p.copy_(torch::randn(p.sizes()));
  }
  return mixer;
}

std::unique_ptr<MixerState> start(const Mixer& mixer, int64_t batch, torch::ScalarType dtype = torch::kFloat32) {
  return mixer.make_state({.batch = batch, .dtype = dtype, .device = torch::kCPU, .window = {}, .reserve_tokens = 0});
}

// The layer in several loops, as a model runs it: every loop has its own state and reads the carry of the one before.
struct Loops {
  std::shared_ptr<Mixer> mixer;
  std::vector<std::unique_ptr<MixerState>> states;  // empty: a training call

  Loops(std::shared_ptr<Mixer> m, int64_t loops, int64_t batch) : mixer(std::move(m)) {
    for (int64_t t = 0; t < loops; ++t) states.push_back(start(*mixer, batch));
  }
  explicit Loops(std::shared_ptr<Mixer> m) : mixer(std::move(m)) {}

  Tensor run(Tensor h, int64_t loops = 3) {
    LoopCarry carry;
    for (int64_t t = 0; t < loops; ++t) {
      MixerCall call;
      if (!states.empty()) call.sequences = states[static_cast<size_t>(t)].get();
      call.carry = &carry;
      h = h + mixer->forward(h, call);
    }
    return h;
  }
};

class LinearMixers : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    mixer_ = make(GetParam());
    torch::manual_seed(1);
  }
  Tensor run(const Tensor& x, MixerState* state) { return mixer_->forward(x, {.sequences = state}); }
  std::shared_ptr<Mixer> mixer_;
};

TEST_P(LinearMixers, SplitsAtChunkBordersChangeNoBit) {
  torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto x = torch::randn({2, 200, kDim}).to(type);
    auto whole = start(*mixer_, 2, type), split = start(*mixer_, 2, type);
    const auto y = run(x, whole.get());
    EXPECT_TRUE(identical(run(x, nullptr), y));
    std::vector<Tensor> parts;
    for (const auto& [begin, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 64}, {64, 128}, {192, 8}}) {
      parts.push_back(run(x.narrow(1, begin, count), split.get()));
    }
    EXPECT_TRUE(identical(torch::cat(parts, 1), y)) << type;
    for (size_t i = 0; i < whole->tensors().size(); ++i) {
      EXPECT_TRUE(identical(split->tensors()[i].second, whole->tensors()[i].second)) << whole->tensors()[i].first;
    }
  }
}

TEST_P(LinearMixers, SequencesOfABatchDoNotMeet) {
  torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto x = torch::randn({5, 75, kDim}).to(type);
    auto all = start(*mixer_, 5, type), one = start(*mixer_, 1, type);
    const auto y = torch::cat({run(x.narrow(1, 0, 70), all.get()), run(x.narrow(1, 70, 5), all.get())}, 1);
    const auto row = x.narrow(0, 3, 1);
    const auto alone = torch::cat({run(row.narrow(1, 0, 70), one.get()), run(row.narrow(1, 70, 5), one.get())}, 1);
    EXPECT_TRUE(identical(alone, y.narrow(0, 3, 1))) << type;
  }
}

TEST_P(LinearMixers, TokenByTokenIsTheWhole) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 81, kDim});
  auto state = start(*mixer_, 2);
  std::vector<Tensor> parts;
  for (int64_t t = 0; t < 81; ++t) parts.push_back(run(x.narrow(1, t, 1), state.get()));
  EXPECT_TRUE(close(torch::cat(parts, 1), run(x, nullptr), 2e-5));
}

// All parameters and the input; with a carry, two loops deep.
void compare_gradients(const Case& c, bool carry) {
  const auto mixer = make(c, carry), exact = make(c, carry);
  exact->to(torch::kFloat64);
  torch::manual_seed(6);
  const auto x = torch::randn({2, 70, kDim}).requires_grad_(), dy = torch::randn({2, 70, kDim});
  const auto xd = x.detach().to(torch::kFloat64).requires_grad_();
  const auto run = [&](const std::shared_ptr<Mixer>& m, const Tensor& input) {
    return carry ? Loops(m).run(input, 2) : m->forward(input, {});
  };
  const auto y = run(mixer, x), truth = run(exact, xd);
  ASSERT_EQ(truth.scalar_type(), torch::kFloat64);
  EXPECT_TRUE(close(y, truth, 2e-5));
  (y * dy).sum().backward();
  (truth * dy).sum().backward();
  EXPECT_TRUE(close(x.grad(), xd.grad(), 1e-4));
  const auto fast = parameters_of(*mixer), slow = parameters_of(*exact);
  for (size_t i = 0; i < fast.size(); ++i) {
    EXPECT_TRUE(close(fast[i].second.grad(), slow[i].second.grad(), 1e-4)) << fast[i].first;
  }
}

TEST_P(LinearMixers, GradientsMatchFp64) { compare_gradients(GetParam(), /*carry=*/false); }
TEST_P(LinearMixers, CarriedGradientsMatchFp64) { compare_gradients(GetParam(), /*carry=*/true); }

TEST_P(LinearMixers, Bf16TrainsCloseToFp32) {
  const auto x = torch::randn({2, 40, kDim}), dy = torch::randn({2, 40, kDim});
  std::map<std::string, Tensor> exact;
  (run(x, nullptr) * dy).sum().backward();
  for (auto& [name, p] : parameters_of(*mixer_)) {
    exact[name] = p.grad().clone();
    p.mutable_grad() = Tensor();
  }
  (run(x.to(torch::kBFloat16), nullptr).to(torch::kFloat32) * dy).sum().backward();
  for (auto& [name, p] : parameters_of(*mixer_)) EXPECT_TRUE(close(p.grad(), exact[name], 6e-2)) << name;
}

TEST_P(LinearMixers, StateMovesThroughTensors) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 90, kDim});
  auto state = start(*mixer_, 2), copy = start(*mixer_, 2);
  run(x.narrow(1, 0, 75), state.get());
  NamedTensors saved;
  for (const auto& [name, tensor] : state->tensors()) saved.emplace_back(name, tensor.clone());
  copy->restore(saved, state->position);
  EXPECT_EQ(state->bytes(), 2 * mixer_->state_bytes(75, {}, torch::kFloat32));
  for (int64_t i = 75; i < 90; ++i) {
    ASSERT_TRUE(identical(run(x.narrow(1, i, 1), copy.get()), run(x.narrow(1, i, 1), state.get()))) << i;
  }
}

TEST_P(LinearMixers, StrongAndMissingDecaysStayFinite) {
  torch::NoGradGuard no_grad;
  // Logits of decays and write strengths far outside: forgets all (-20 and below), nothing (0); beta 0 and 1 or 2.
  for (const double size : {0.0, 1.0, 60.0}) {
    const auto x = size * torch::randn({1, 150, kDim});
    auto state = start(*mixer_, 1);
    const auto whole = run(x, nullptr);
    EXPECT_TRUE(torch::isfinite(whole).all().item<bool>()) << size;
    const auto first = run(x.narrow(1, 0, 61), state.get()), rest = run(x.narrow(1, 61, 89), state.get());
    EXPECT_TRUE(torch::isfinite(torch::cat({first, rest}, 1)).all().item<bool>()) << size;
  }
}

TEST_P(LinearMixers, CarryOffOrWithoutWeightChangesNothing) {
  torch::NoGradGuard no_grad;
  const auto plain = make(GetParam()), carried = make(GetParam(), true);
  const auto from = parameters_of(*plain);
  EXPECT_EQ(parameters_of(*carried).size(), from.size() + 1);
  for (auto& [name, p] : parameters_of(*carried)) {
    if (name == "state_gate") {
      p.zero_();
      continue;
    }
    for (const auto& [key, value] : from) {
      if (key == name) p.copy_(value);
    }
  }
  const auto x = torch::randn({2, 40, kDim});
  EXPECT_TRUE(identical(Loops(carried).run(x), Loops(plain).run(x)));
  Initialiser init(3, 0.1);
  static_cast<LinearMixer&>(*carried).initialise(init);
  EXPECT_TRUE(identical(static_cast<LinearMixer&>(*carried).state_gate, torch::zeros({3})));
}

TEST_P(LinearMixers, CarryOfTheSameInputsCancels) {
  // With one input in both loops the carried read is the loop's own, bit for bit: a gate of -1 leaves zero.
  torch::NoGradGuard no_grad;
  const auto mixer = make(GetParam(), true);
  static_cast<LinearMixer&>(*mixer).state_gate.fill_(-1);
  for (auto& [name, p] : parameters_of(*mixer)) {
    if (name == "D") p.zero_();
  }
  auto first = start(*mixer, 2), second = start(*mixer, 2);
  for (const int64_t tokens : {30, 1, 1, 70}) {
    const auto x = torch::randn({2, tokens, kDim});
    LoopCarry carry;
    const auto y = mixer->forward(x, {.sequences = first.get(), .carry = &carry});
    EXPECT_GT(y.abs().max().item<double>(), 1e-3);
    const auto cancelled = mixer->forward(x, {.sequences = second.get(), .carry = &carry});
    EXPECT_TRUE(identical(cancelled, torch::zeros_like(y))) << tokens;
    EXPECT_TRUE(identical(first->tensors()[0].second, second->tensors()[0].second));
  }
}

TEST_P(LinearMixers, CarryIsCausal) {
  torch::NoGradGuard no_grad;
  const auto mixer = make(GetParam(), true);
  const auto x = torch::randn({1, 100, kDim});
  auto changed = x.clone();
  changed.narrow(1, 77, 23).normal_();
  const auto a = Loops(mixer).run(x), b = Loops(mixer).run(changed);
  EXPECT_TRUE(identical(a.narrow(1, 0, 64), b.narrow(1, 0, 64)));  // whole chunks before the change
  EXPECT_TRUE(close(a.narrow(1, 0, 77), b.narrow(1, 0, 77), 1e-6));
  EXPECT_FALSE(close(a.narrow(1, 77, 23), b.narrow(1, 77, 23), 1e-2));
}

TEST_P(LinearMixers, CarryStreams) {
  torch::NoGradGuard no_grad;
  const auto mixer = make(GetParam(), true);
  const auto x = torch::randn({1, 84, kDim});
  const auto whole = Loops(mixer).run(x);
  for (const int64_t piece : {1, 19, 64, 84}) {
    Loops loops(mixer, 3, 1);
    std::vector<Tensor> parts;
    for (int64_t begin = 0; begin < 84; begin += piece) {
      parts.push_back(loops.run(x.narrow(1, begin, std::min<int64_t>(piece, 84 - begin))));
    }
    const auto y = torch::cat(parts, 1);
    EXPECT_TRUE(piece >= 64 ? identical(y, whole) : close(y, whole, 2e-4)) << piece;
  }
}

TEST_P(LinearMixers, CarryWorksWithStatesAndGradients) {
  // As the checks run it: states in a call that records gradients. The call may not overwrite what a gradient needs.
  const auto mixer = make(GetParam(), true);
  const auto x = torch::randn({2, 20, kDim});
  Loops loops(mixer, 3, 2);
  loops.run(x.narrow(1, 0, 9)).sum().backward();
  const auto rest = loops.run(x.narrow(1, 9, 11));
  rest.sum().backward();
  torch::NoGradGuard no_grad;
  EXPECT_TRUE(close(rest, Loops(mixer).run(x).narrow(1, 9, 11), 2e-4));
}

INSTANTIATE_TEST_SUITE_P(All, LinearMixers, ::testing::ValuesIn(cases()), [](const auto& c) { return c.param.name; });

// Only the shared part.
class Bare : public LinearMixer {
 public:
  explicit Bare(const ModelConfig& config)
      : LinearMixer(config, {.heads = 3, .key_dim = 8, .value_dim = 12, .delta = true, .convolutions = {}}) {}
  using LinearMixer::recur;
  Tensor forward(const Tensor& x, const MixerCall&) override { return x; }
  int64_t saved_elements_per_token() const override { return 0; }

 private:
  void initialise_weights(Initialiser&) override {}
};

TEST(StateCarry, ReadsThePreviousLoopWithThisLoopsQueries) {
  torch::NoGradGuard no_grad;
  torch::manual_seed(9);
  Bare mixer(config_of({"gdn", "gdn"}, true));
  mixer.state_gate.copy_(torch::tensor({0.5, -2.0, 1.0}));
  const auto inputs = [](int64_t L) {
    LinearRecurrenceInput in;
    in.q = torch::randn({2, L, 3, 8});
    in.k = torch::randn({2, L, 3, 8});
    in.k = in.k / in.k.norm(2, -1, true);
    in.v = torch::randn({2, L, 3, 12});
    in.g = -torch::rand({2, L, 3, 8});
    in.beta = torch::rand({2, L, 3});
    in.scale = 0.3;
    return in;
  };
  // Two loops, called part by part with states; the reference runs each loop in one piece.
  std::vector<LinearRecurrenceInput> whole{inputs(90), inputs(90)};
  auto crossed = whole[0];
  crossed.q = whole[1].q;
  const auto truth =
      linear_recurrence_reference(whole[1]).o + mixer.state_gate.view({3, 1}) * linear_recurrence_reference(crossed).o;
  std::vector<std::unique_ptr<MixerState>> states;
  for (int64_t t = 0; t < 2; ++t) states.push_back(start(mixer, 2));
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t tokens : {70, 1, 1, 18}) {
    LoopCarry carry;
    Tensor o;
    for (size_t t = 0; t < 2; ++t) {
      auto in = whole[t];
      for (auto* x : {&in.q, &in.k, &in.v, &in.g, &in.beta}) *x = x->narrow(1, begin, tokens);
      o = mixer.recur(in, {.sequences = states[t].get(), .carry = &carry});
    }
    parts.push_back(o);
    begin += tokens;
  }
  EXPECT_TRUE(close(torch::cat(parts, 1), truth, 2e-5));
  for (size_t t = 0; t < 2; ++t) {
    EXPECT_TRUE(close(states[t]->tensors()[0].second, linear_recurrence_reference(whole[t]).state, 2e-5));
  }
}

TEST(StateCarry, DecodingKeepsItsBuffers) {
  torch::NoGradGuard no_grad;
  const auto mixer = make({"gdn", "gdn"}, true);
  Loops loops(mixer, 2, 1);
  loops.run(torch::randn({1, 5, kDim}), 2);
  const void* before = loops.states[0]->tensors()[0].second.data_ptr();
  LoopCarry carry;
  const auto step = [&] {
    mixer->forward(torch::randn({1, 1, kDim}), {.sequences = loops.states[0].get(), .carry = &carry});
  };
  step();
  const void* aside = carry.states[0].data_ptr();
  for (int64_t i = 0; i < 3; ++i) {
    carry = {};
    step();
    EXPECT_EQ(loops.states[0]->tensors()[0].second.data_ptr(), before);
    EXPECT_EQ(carry.states[0].data_ptr(), aside);
  }
}

TEST(LinearMixerSizes, AreThoseOfTheDescription) {
  struct Size {
    std::string type;
    int64_t dim, weights, matrix_bytes, tail_values;
  };
  // Tails have three tokens; the description counts four columns.
  for (const auto& size : std::vector<Size>{{"gdn", 1024, 6336640, 294912, 12288},
                                            {"gdn", 2048, 25256160, 1179648, 24576},
                                            {"kda", 1024, 4487248, 262144, 12288},
                                            {"kda", 2048, 17887376, 1048576, 24576},
                                            {"deltanet", 1024, 4223040, 262144, 12288},
                                            {"deltanet", 2048, 16834688, 1048576, 24576},
                                            {"mamba2", 1024, 6451888, 524288, 8704},
                                            {"mamba2", 2048, 25486000, 1048576, 16896},
                                            {"retnet", 1024, 8388736, 524288, 0},
                                            {"retnet", 2048, 33554688, 2097152, 0},
                                            {"hgrn2", 1024, 4195328, 262144, 0},
                                            {"hgrn2", 2048, 16779264, 1048576, 0},
                                            {"gla", 1024, 4219456, 131072, 0},
                                            {"gla", 2048, 16827520, 524288, 0},
                                            {"la", 1024, 4211008, 262144, 0},
                                            {"la", 2048, 16843392, 1048576, 0}}) {
    ModelConfig config;
    config.dim = size.dim;
    config.n_heads = 16;
    config.vocab_size = 10;
    config.layer_pattern = size.type;
    validate_model(config);
    const auto mixer = make_mixer(size.type, config);  // memory that is not touched costs nothing
    int64_t weights = 0;
    for (const auto& [name, p] : parameters_of(*mixer)) weights += p.numel();
    EXPECT_EQ(weights, size.weights) << size.type << " " << size.dim;
    EXPECT_EQ(mixer->state_bytes(0, {}, torch::kBFloat16), size.matrix_bytes + size.tail_values * 3 / 4 * 2)
        << size.type;
    // Every weight of a matrix is one multiply-add, and the recurrence a few per element of the state.
    const double per_token = mixer->flops_per_token(0, {}) / 2;
    EXPECT_GT(per_token, 0.99 * static_cast<double>(weights)) << size.type;
    EXPECT_LT(per_token, 1.2 * static_cast<double>(weights)) << size.type;
  }
}

TEST(LinearMixerInit, FollowsTheDescription) {
  for (const std::string type : {"gdn", "kda", "mamba2"}) {
    const Case c{type, type};
    ModelConfig config = config_of(c, false);
    config.dim = 512;
    config.n_heads = 64;
    const auto mixer = make_mixer(type, config);
    Initialiser init(5, 0.02);
    mixer->initialise(init);
    std::map<std::string, Tensor> p;
    for (const auto& [name, value] : parameters_of(*mixer)) p[name] = value.detach();
    const auto rate = p.at("A_log").exp();
    EXPECT_GE(rate.min().item<double>(), type == "kda" ? 1 : 0) << type;
    EXPECT_LE(rate.max().item<double>(), 16.001);
    EXPECT_GT(rate.max().item<double>(), 12);
    const auto delta = torch::softplus(p.at("dt_bias"));
    EXPECT_GE(delta.min().item<double>(), 0.000999);
    EXPECT_LE(delta.max().item<double>(), 0.1001);
    const auto& conv = p.at(type == "mamba2" ? "conv1d.weight" : "v_conv1d.weight");
    EXPECT_LE(conv.abs().max().item<double>(), 0.5);
    EXPECT_GT(conv.abs().max().item<double>(), 0.45);
    const auto& projection = p.at(type == "mamba2" ? "out_proj.weight" : "o_proj.weight");
    EXPECT_NEAR(projection.std().item<double>(), 0.02, 0.001);
    EXPECT_LE(projection.abs().max().item<double>(), 0.0601);
    if (type == "mamba2") {
      EXPECT_TRUE(identical(p.at("D"), torch::ones({64})));
    }
    if (type == "kda") {
      EXPECT_EQ(p.at("g_proj.1.bias").abs().max().item<double>(), 0);
    }
  }
}

TEST(LinearMixerLengths, StayFiniteOver64kTokens) {
  torch::NoGradGuard no_grad;
  ModelConfig config;
  config.dim = 16;
  config.n_heads = 2;
  config.vocab_size = 10;
  for (const std::string type : {"la", "deltanet", "kda", "retnet"}) {
    config.layer_pattern = type;
    validate_model(config);
    const auto mixer = make_mixer(type, config);
    Initialiser init(3, 0.25);
    mixer->initialise(init);
    auto state = start(*mixer, 1);
    torch::manual_seed(2);
    const auto y = mixer->forward(torch::randn({1, 65536, 16}), {.sequences = state.get()});
    EXPECT_TRUE(torch::isfinite(y).all().item<bool>()) << type;
    EXPECT_TRUE(torch::isfinite(state->tensors()[0].second).all().item<bool>()) << type;
    EXPECT_TRUE(
        torch::isfinite(mixer->forward(torch::randn({1, 1, 16}), {.sequences = state.get()})).all().item<bool>());
  }
}

}  // namespace
}  // namespace lt2
