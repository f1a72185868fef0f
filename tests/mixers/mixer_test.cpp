// What the model requires of a mixer, checked for every mixer.
#include "mixers/mixer.h"

#include <algorithm>

#include "base/error.h"
#include "config/patterns.h"
#include "mixers/linear_mixer.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

ModelConfig small_config() {
  ModelConfig config;
  config.dim = 48;
  config.n_layers = 1;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.vocab_size = 10;
  config.use_attn_gate = true;
  validate_model(config);
  return config;
}

struct Case {
  std::string type;
  std::optional<int64_t> window;
};

class EveryMixer : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    mixer_ = make_mixer(GetParam().type, small_config());
    Initialiser init(3, 1 / std::sqrt(48.0));
    mixer_->initialise(init);
    torch::manual_seed(1);
    torch::NoGradGuard no_grad;
    for (auto& [name, p] : parameters_of(*mixer_)) {
      if (name == "w_gate.weight") p.copy_(0.3 * torch::randn(p.sizes()));
    }
  }
  torch::Tensor run(const torch::Tensor& x, MixerState* state) {
    return mixer_->forward(x, {.window = GetParam().window, .sequences = state, .residual = {}});
  }
  std::unique_ptr<MixerState> start(int64_t batch, torch::ScalarType dtype = torch::kFloat32) {
    return mixer_->make_state(
        {.batch = batch, .dtype = dtype, .device = torch::kCPU, .window = GetParam().window, .reserve_tokens = 0});
  }
  std::shared_ptr<Mixer> mixer_;
};

TEST_P(EveryMixer, PiecesOfAnyLengthContinueExactly) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 200, 48});
  const auto whole = run(x, nullptr);
  for (const int64_t piece : {1, 3, 31, 64, 65, 199}) {
    auto state = start(2);
    std::vector<torch::Tensor> parts;
    for (int64_t begin = 0; begin < 200; begin += piece)
      parts.push_back(run(x.narrow(1, begin, std::min<int64_t>(piece, 200 - begin)), state.get()));
    EXPECT_TRUE(test::close(torch::cat(parts, 1), whole, 2e-5)) << "pieces of " << piece;
    EXPECT_EQ(state->position, 200);
  }
}

TEST_P(EveryMixer, StateMovesThroughTensors) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 90, 48});
  auto state = start(2), copy = start(2);
  run(x.narrow(1, 0, 75), state.get());
  NamedTensors saved;
  for (const auto& [name, tensor] : state->tensors()) saved.emplace_back(name, tensor.clone());
  copy->restore(saved, state->position);
  for (int64_t i = 75; i < 90; ++i)
    ASSERT_TRUE(test::identical(run(x.narrow(1, i, 1), copy.get()), run(x.narrow(1, i, 1), state.get()))) << i;
  EXPECT_THROW(start(3)->restore(saved, 75), Error);
  saved.clear();
  EXPECT_THROW(start(2)->restore(saved, 75), Error);
}

TEST_P(EveryMixer, ResidualIsAddedInFp32) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 9, 48}), residual = torch::randn({2, 9, 48});
  const auto sum = mixer_->forward(x, {.window = GetParam().window, .residual = residual});
  EXPECT_TRUE(test::close(sum, residual + run(x, nullptr), 1e-6));
  const auto reduced = mixer_->forward(x.to(torch::kBFloat16), {.window = GetParam().window, .residual = residual});
  EXPECT_EQ(reduced.dtype(), torch::kFloat32);
  EXPECT_TRUE(test::close(reduced, sum, 2e-2));
}

TEST_P(EveryMixer, SyntheticStateWeighsWhatARealOneDoes) {
  torch::NoGradGuard no_grad;
  auto real = start(2), synthetic = start(2);
  run(torch::randn({2, 150, 48}), real.get());
  synthetic->fill_synthetic(150);
  EXPECT_EQ(synthetic->bytes(), real->bytes());
  EXPECT_EQ(real->bytes(), 2 * mixer_->state_bytes(150, GetParam().window, torch::kFloat32));
  EXPECT_GE(mixer_->allocated_bytes(150, GetParam().window, torch::kFloat32),
            mixer_->state_bytes(150, GetParam().window, torch::kFloat32));
  EXPECT_TRUE(torch::isfinite(run(torch::randn({2, 1, 48}), synthetic.get())).all().item<bool>());
}

TEST_P(EveryMixer, Bf16StreamsWithinItsRounding) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({1, 100, 48});
  const auto exact = run(x, nullptr);
  auto state = start(1, torch::kBFloat16);
  std::vector<torch::Tensor> parts;
  for (int64_t begin = 0; begin < 100; begin += 10)
    parts.push_back(run(x.narrow(1, begin, 10).to(torch::kBFloat16), state.get()));
  EXPECT_TRUE(test::close(torch::cat(parts, 1), exact, 2e-2));
}

INSTANTIATE_TEST_SUITE_P(Types, EveryMixer,
                         ::testing::Values(Case{"full", {}}, Case{"full", 1}, Case{"full", 40}, Case{"gdn", {}},
                                           Case{"kda", {}}, Case{"deltanet", {}}, Case{"mamba2", {}},
                                           Case{"retnet", {}}, Case{"hgrn2", {}}, Case{"gla", {}}, Case{"la", {}}),
                         [](const auto& c) {
                           return c.param.type + (c.param.window ? "_window_" + std::to_string(*c.param.window) : "");
                         });

TEST(MakeMixer, KnowsTheTypesOfTheConfigurationAndNoOther) {
  auto configured = layer_type_names();
  std::sort(configured.begin(), configured.end());
  EXPECT_EQ(mixer_types(), configured);
  for (const auto& type : configured)
    EXPECT_EQ(std::dynamic_pointer_cast<LinearMixer>(make_mixer(type, small_config())) != nullptr,
              is_linear_layer_type(type))
        << type;
}

TEST(MakeMixer, UnknownTypeListsTheKnown) {
  try {
    make_mixer("mamba3", small_config());
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("full, gdn"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lt2
