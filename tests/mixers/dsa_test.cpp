#include "mixers/deepseek_sparse_attention.h"

#include "tests/support/compare.h"

namespace lt2 {
namespace {

ModelConfig config_of(bool lightning, int64_t topk, const std::string& stage = "sparse", int64_t rope_dim = 4) {
  ModelConfig c;
  c.dim = 32;
  c.n_layers = 1;
  c.n_heads = 4;
  c.n_kv_heads = 1;
  c.vocab_size = 10;
  c.layer_pattern = "dsa";
  c.dsa.dim = 12;
  c.dsa.tail_dim = 4;
  c.dsa.topk = topk;
  c.dsa.score_dim = 8;
  c.dsa.indexer = lightning ? "lightning" : "reference";
  c.dsa.index_n_heads = 3;
  c.dsa.index_head_dim = 8;
  c.dsa.index_rope_dim = rope_dim;
  c.dsa.kl_stage = stage;
  validate_model(c);
  return c;
}

std::shared_ptr<DeepseekSparseAttention> make(const ModelConfig& config) {
  auto mixer = std::make_shared<DeepseekSparseAttention>(config);
  Initialiser init(3, 0.3);
  mixer->initialise(init);
  torch::manual_seed(1);
  return mixer;
}

bool of_indexer(const std::string& name) { return name.rfind("indexer.", 0) == 0; }

struct Case {
  std::string name;
  bool lightning;
  int64_t topk;
};

class Dsa : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { mixer_ = make(config_of(GetParam().lightning, GetParam().topk)); }
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
  std::shared_ptr<DeepseekSparseAttention> mixer_;
};

TEST_P(Dsa, ContinuesExactly) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 200, 32}), whole = run(x);
  EXPECT_TRUE(test::identical(in_pieces(x, {200}), whole));
  EXPECT_TRUE(test::identical(in_pieces(x, {64, 128}), whole));
  EXPECT_TRUE(test::close(in_pieces(x, {1}), whole, 1e-5));
  EXPECT_TRUE(test::close(in_pieces(x, {13, 1, 50, 3}), whole, 1e-5));
}

TEST_P(Dsa, ResultOfASequenceIsItsOwn) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({3, 90, 32});
  EXPECT_TRUE(test::identical(run(x).narrow(0, 1, 1), run(x.narrow(0, 1, 1))));
}

TEST_P(Dsa, StateMovesThroughTensorsAndWeighsWhatItSays) {
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

TEST_P(Dsa, TheOutputTeachesTheMainPathAlone) {
  const auto x = torch::randn({1, 40, 32}).requires_grad_();
  run(x).square().sum().backward();
  for (const auto& [name, t] : parameters_of(*mixer_)) {
    const bool index = of_indexer(name) || name.find("score") != std::string::npos;
    EXPECT_EQ(t.grad().defined(), !index) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Dsa,
                         ::testing::Values(Case{"reference", false, 6}, Case{"reference_all", false, 500},
                                           Case{"reference_one", false, 1}, Case{"lightning", true, 6},
                                           Case{"lightning_one", true, 1}),
                         [](const auto& c) { return c.param.name; });

TEST(DsaLoss, TeachesTheIndexerAlone) {
  for (const char* stage : {"sparse", "dense"}) {
    const auto mixer = make(config_of(true, 6, stage));
    const auto x = torch::randn({2, 40, 32}).requires_grad_();
    std::vector<torch::Tensor> losses;
    mixer->forward(x, {.losses = &losses});
    ASSERT_EQ(losses.size(), 1u);
    EXPECT_GT(losses[0].item<float>(), 0) << stage;
    losses[0].backward();
    EXPECT_FALSE(x.grad().defined());
    for (const auto& [name, t] : parameters_of(*mixer)) EXPECT_EQ(t.grad().defined(), of_indexer(name)) << name;
  }
}

TEST(DsaLoss, IsThereWhereItIsAskedFor) {
  std::vector<torch::Tensor> losses;
  const auto x = torch::randn({1, 20, 32});
  make(config_of(false, 6))->forward(x, {.losses = &losses});
  EXPECT_TRUE(losses.empty());
  const auto mixer = make(config_of(true, 6));
  mixer->forward(x, {.losses = &losses});
  torch::NoGradGuard no_grad;  // as in the first run of a recomputed part
  mixer->forward(x, {.losses = &losses});
  ASSERT_EQ(losses.size(), 2u);
  EXPECT_FALSE(losses[1].requires_grad());
  EXPECT_TRUE(test::identical(losses[0], losses[1]));
}

TEST(DsaLong, EightThousandTokensTrain) {
  for (const bool lightning : {false, true}) {
    const auto mixer = make(config_of(lightning, 128, "sparse", 8));
    const auto x = torch::randn({1, 8192, 32}).requires_grad_();
    mixer->forward(x, {}).square().sum().backward();
    EXPECT_TRUE(torch::isfinite(x.grad()).all().item<bool>());
  }
}

TEST(DsaLong, LossStoresNoSquareOfTheLength) {
  const auto mixer = make(config_of(true, 64, "sparse", 0));
  std::vector<torch::Tensor> losses;
  mixer->forward(torch::randn({1, 2048, 32}), {.losses = &losses});
  losses.at(0).backward();
  EXPECT_TRUE(std::isfinite(losses[0].item<float>()));
}

}  // namespace
}  // namespace lt2
