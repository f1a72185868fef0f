#include "mixers/native_sparse_attention.h"

#include "tests/support/compare.h"

namespace lt2 {
namespace {

ModelConfig config_of(int64_t block_size, int64_t counts, int64_t window, bool bias, int64_t kv_heads) {
  ModelConfig c;
  c.dim = 32;
  c.n_layers = 1;
  c.n_heads = 4;
  c.n_kv_heads = kv_heads;
  c.vocab_size = 10;
  c.layer_pattern = "nsa";
  c.nsa.block_size = block_size;
  c.nsa.block_counts = counts;
  c.nsa.window_size = window;
  c.nsa.qkv_bias = bias;
  validate_model(c);
  return c;
}

struct Case {
  std::string name;
  int64_t block_size, counts, window;
  bool bias;
  int64_t kv_heads;
};

class Nsa : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto& p = GetParam();
    mixer_ = std::make_shared<NativeSparseAttention>(config_of(p.block_size, p.counts, p.window, p.bias, p.kv_heads));
    Initialiser init(3, 0.3);
    mixer_->initialise(init);
    torch::manual_seed(1);
    torch::NoGradGuard no_grad;
    for (auto& [name, t] : parameters_of(*mixer_)) {
      if (name.find("bias") != std::string::npos) t.copy_(0.3 * torch::randn(t.sizes()));
    }
  }
  torch::Tensor run(const torch::Tensor& x, MixerState* state = nullptr) {
    return mixer_->forward(x, {.sequences = state});
  }
  std::unique_ptr<MixerState> start(int64_t batch, int64_t reserve = 0) {
    return mixer_->make_state({.batch = batch, .reserve_tokens = reserve});
  }
  torch::Tensor in_pieces(const torch::Tensor& x, const std::vector<int64_t>& pieces) {
    auto state = start(x.size(0));
    std::vector<torch::Tensor> parts;
    int64_t begin = 0;
    for (size_t i = 0; begin < x.size(1); ++i) {
      const int64_t n = std::min(pieces[i % pieces.size()], x.size(1) - begin);
      parts.push_back(run(x.narrow(1, begin, n), state.get()));
      begin += n;
    }
    return torch::cat(parts, 1);
  }
  std::shared_ptr<NativeSparseAttention> mixer_;
};

TEST_P(Nsa, ContinuesExactly) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 200, 32}), whole = run(x);
  EXPECT_TRUE(test::identical(in_pieces(x, {200}), whole));
  EXPECT_TRUE(test::identical(in_pieces(x, {64, 128}), whole));
  EXPECT_TRUE(test::close(in_pieces(x, {1}), whole, 1e-5));
  EXPECT_TRUE(test::close(in_pieces(x, {13, 1, 50, 3}), whole, 1e-5));
}

TEST_P(Nsa, ResultOfASequenceIsItsOwn) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({3, 90, 32});
  EXPECT_TRUE(test::identical(run(x).narrow(0, 1, 1), run(x.narrow(0, 1, 1))));
}

TEST_P(Nsa, StateMovesThroughTensorsAndWeighsWhatItSays) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 60, 32});
  auto state = start(2), copy = start(2, 100), synthetic = start(2);
  run(x.narrow(1, 0, 45), state.get());
  copy->restore(state->tensors(), state->position);
  synthetic->fill_synthetic(45);
  EXPECT_EQ(state->bytes(), 2 * mixer_->state_bytes(45, 3, torch::kFloat32));
  EXPECT_EQ(synthetic->bytes(), state->bytes());
  for (int64_t i = 45; i < 60; ++i)
    ASSERT_TRUE(test::identical(run(x.narrow(1, i, 1), copy.get()), run(x.narrow(1, i, 1), state.get()))) << i;
  EXPECT_TRUE(torch::isfinite(run(x.narrow(1, 0, 1), synthetic.get())).all().item<bool>());
}

TEST_P(Nsa, EveryParameterLearns) {
  const auto x = torch::randn({1, 40, 32}).requires_grad_();
  run(x).square().sum().backward();
  EXPECT_TRUE(torch::isfinite(x.grad()).all().item<bool>());
  for (const auto& [name, t] : parameters_of(*mixer_))
    EXPECT_TRUE(t.grad().defined() && t.grad().abs().max().item<float>() > 0) << name;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Nsa,
                         ::testing::Values(Case{"plain", 8, 4, 12, false, 1}, Case{"biased", 8, 4, 0, true, 2},
                                           Case{"few", 4, 2, 5, false, 4}, Case{"one", 16, 1, 1, false, 2},
                                           Case{"odd", 5, 4, 7, false, 2}, Case{"long", 96, 3, 512, false, 1},
                                           Case{"tokens", 1, 7, 3, false, 2}),
                         [](const auto& c) { return c.param.name; });

TEST(NsaLong, EightThousandTokensTrain) {
  NativeSparseAttention mixer(config_of(64, 16, 512, false, 1));
  Initialiser init(3, 0.2);
  mixer.initialise(init);
  const auto x = torch::randn({1, 8192, 32}).requires_grad_();
  mixer.forward(x, {}).square().sum().backward();
  EXPECT_TRUE(torch::isfinite(x.grad()).all().item<bool>());
}

}  // namespace
}  // namespace lt2
