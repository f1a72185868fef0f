// `mla`: the two forms agree, the split rule holds bit for bit, and the state holds only the latents.
#include "mixers/latent_attention.h"

#include "base/error.h"
#include "base/threads.h"
#include "ops/head_linear/op.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;

struct Case {
  std::string name;
  std::optional<int64_t> q_rank, window;
  int64_t heads = 4;
};
std::ostream& operator<<(std::ostream& s, const Case& c) { return s << c.name; }

ModelConfig config_of(const Case& c) {
  ModelConfig config;
  config.dim = 48;
  config.n_layers = 1;
  config.n_heads = c.heads;
  config.vocab_size = 10;
  config.layer_pattern = "mla";
  config.mla.q_lora_rank = c.q_rank;
  config.mla.kv_lora_rank = 24;
  config.mla.qk_rope_head_dim = 8;
  config.mla.qk_nope_head_dim = 12;
  config.mla.v_head_dim = 10;
  config.mla.window_size = c.window;
  validate_model(config);
  return config;
}

std::shared_ptr<LatentAttention> make(const Case& c) {
  auto mixer = std::make_shared<LatentAttention>(config_of(c));
  Initialiser init(3, 1 / std::sqrt(48.0));
  mixer->initialise(init);
  return mixer;
}

/// The description, word for word, in fp64.
torch::Tensor by_definition(LatentAttention& m, const ModelConfig& c, const torch::Tensor& x_any) {
  const auto x = x_any.to(torch::kFloat64);
  const int64_t B = x.size(0), L = x.size(1), H = *c.n_heads, n = c.mla.qk_nope_head_dim, r = c.mla.qk_rope_head_dim,
                v = c.mla.v_head_dim;
  const auto map = [](const torch::Tensor& t, const Linear& w) { return t.matmul(w->weight.to(torch::kFloat64).t()); };
  const auto norm = [](const torch::Tensor& t, const Norm& w) {
    return t * (t.square().mean(-1, true) + 1e-5).rsqrt() * w->weight;
  };
  const auto rotated = [&](const torch::Tensor& t) {  // [B, L, ., r]
    const auto i = torch::arange(r / 2, torch::kFloat64);
    const auto a =
        (torch::arange(L, torch::kFloat64).unsqueeze(1) * torch::pow(c.rope_theta, -2.0 * i / r)).unsqueeze(1);
    const auto p = t.narrow(-1, 0, r / 2), q = t.narrow(-1, r / 2, r / 2);
    return torch::cat({p * a.cos() - q * a.sin(), p * a.sin() + q * a.cos()}, -1);
  };
  const auto q_all =
      (m.q_low_rank ? map(norm(map(x, m.q_low_rank->down), m.q_low_rank->norm), m.q_low_rank->up) : map(x, m.q_proj))
          .view({B, L, H, n + r});
  const auto q = torch::cat({q_all.narrow(-1, 0, n), rotated(q_all.narrow(-1, n, r))}, -1).transpose(1, 2);
  const auto kv = map(norm(map(x, m.kv_proj->down), m.kv_proj->norm), m.kv_proj->up).view({B, L, H, n + v});
  const auto k_r = rotated(map(x, m.k_rope).unsqueeze(2)).expand({B, L, H, r});
  const auto k = torch::cat({kv.narrow(-1, 0, n), k_r}, -1).transpose(1, 2);
  const auto t = torch::arange(L).unsqueeze(1), s = torch::arange(L).unsqueeze(0);
  auto hidden = s > t;
  if (c.mla.window_size) hidden = hidden | (t - s >= *c.mla.window_size);
  const auto p = (q.matmul(k.transpose(-1, -2)) / std::sqrt(static_cast<double>(n + r)))
                     .masked_fill(hidden, -INFINITY)
                     .softmax(-1);
  return map(p.matmul(kv.narrow(-1, n, v).transpose(1, 2)).transpose(1, 2).reshape({B, L, H * v}), m.o_proj);
}

class LatentAttentionForms : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    mixer_ = make(GetParam());
    torch::manual_seed(1);
  }
  std::unique_ptr<MixerState> start(int64_t batch, torch::ScalarType dtype = torch::kFloat32) {
    return mixer_->make_state({.batch = batch, .dtype = dtype, .device = torch::kCPU, .reserve_tokens = 0});
  }
  torch::Tensor in_pieces(const torch::Tensor& x, const std::vector<int64_t>& pieces, MixerState* state) {
    torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> parts;
    int64_t begin = 0;
    for (const int64_t piece : pieces) {
      parts.push_back(mixer_->forward(x.narrow(1, begin, piece), {.sequences = state, .residual = {}}));
      begin += piece;
    }
    return torch::cat(parts, 1);
  }
  std::shared_ptr<LatentAttention> mixer_;
};

TEST_P(LatentAttentionForms, TrainingMatchesTheDefinition) {
  const auto config = config_of(GetParam());
  const auto x = torch::randn({2, 140, 48}), weights = torch::randn({2, 140, 48});
  const auto gradients = [&](const torch::Tensor& y) {
    (y * weights).sum().backward();
    std::vector<torch::Tensor> out;
    for (auto& [name, p] : parameters_of(*mixer_)) {
      out.push_back(p.grad().clone());
      p.mutable_grad() = torch::Tensor();
    }
    return out;
  };
  auto x_fast = x.clone().requires_grad_(), x_true = x.clone().requires_grad_();
  const auto y = mixer_->forward(x_fast, {.residual = {}});
  const auto truth = by_definition(*mixer_, config, x_true);
  EXPECT_TRUE(close(y, truth, 1e-5));
  const auto fast = gradients(y), exact = gradients(truth);
  EXPECT_TRUE(close(x_fast.grad(), x_true.grad(), 5e-5));
  for (size_t i = 0; i < fast.size(); ++i)
    EXPECT_TRUE(close(fast[i], exact[i], 5e-5)) << parameters_of(*mixer_)[i].first;
}

TEST_P(LatentAttentionForms, AbsorbedStepsMatchTheDefinition) {
  const auto x = torch::randn({2, 140, 48});
  const auto truth = by_definition(*mixer_, config_of(GetParam()), x);
  for (const int64_t piece : {1, 4, 7, 10, 70, 140}) {
    auto state = start(2);
    EXPECT_TRUE(
        close(in_pieces(x, std::vector<int64_t>(static_cast<size_t>(140 / piece), piece), state.get()), truth, 2e-5))
        << piece;
    auto reduced = start(2, torch::kBFloat16);
    EXPECT_TRUE(close(
        in_pieces(x.to(torch::kBFloat16), std::vector<int64_t>(static_cast<size_t>(140 / piece), piece), reduced.get()),
        truth, 2e-2))
        << piece;
  }
}

TEST_P(LatentAttentionForms, PrefillSplitAtBlocksEqualsWhole) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    // The last segment of 3 tokens is absorbed, or of 20 expanded.
    for (const int64_t L : {195, 212}) {
      const auto x = torch::randn({2, L, 48}).to(type);
      auto whole_state = start(2, type);
      const auto whole = in_pieces(x, {L}, whole_state.get());
      for (const auto& pieces : {std::vector<int64_t>{64, L - 64}, {128, L - 128}, {64, 64, 64, L - 192}}) {
        auto state = start(2, type);
        EXPECT_TRUE(identical(in_pieces(x, pieces, state.get()), whole)) << L;
        EXPECT_TRUE(identical(state->tensors()[0].second, whole_state->tensors()[0].second)) << L;
      }
    }
  }
}

TEST_P(LatentAttentionForms, SequencesOfABatchAreIndependent) {
  const auto x = torch::randn({3, 80, 48});
  const std::vector<int64_t> pieces{70, 1, 1, 8};
  auto state = start(3);
  const auto all = in_pieces(x, pieces, state.get());
  const int before = num_threads();
  for (int64_t b = 0; b < 3; ++b) {
    set_num_threads(b == 0 ? 1 : before);
    auto alone = start(1);
    EXPECT_TRUE(identical(in_pieces(x.narrow(0, b, 1), pieces, alone.get()), all.narrow(0, b, 1))) << b;
  }
  set_num_threads(before);
}

TEST_P(LatentAttentionForms, AChangedWeightIsSeenByTheNextStep) {
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({1, 20, 48});
  const std::vector<int64_t> steps(20, 1);
  auto state = start(1);
  in_pieces(x, steps, state.get());
  mixer_->kv_proj->up->weight.mul_(2);
  state = start(1);
  EXPECT_TRUE(close(in_pieces(x, steps, state.get()), by_definition(*mixer_, config_of(GetParam()), x), 2e-5));
}

TEST_P(LatentAttentionForms, TheStateHoldsLatentsAlone) {
  auto state = start(2);
  in_pieces(torch::randn({2, 100, 48}), {100}, state.get());
  const int64_t rows = GetParam().window ? *GetParam().window - 1 : 100;
  EXPECT_EQ(state->bytes(), 2 * rows * (24 + 8) * 4);
  EXPECT_EQ(mixer_->state_bytes(100, 5, torch::kFloat32), rows * (24 + 8) * 4);
}

INSTANTIATE_TEST_SUITE_P(Kinds, LatentAttentionForms,
                         ::testing::Values(Case{"direct", {}, {}}, Case{"low_rank", 20, {}}, Case{"window", {}, 33},
                                           Case{"window_1", {}, 1}, Case{"low_rank_window_70", 20, 70},
                                           Case{"three_heads", {}, {}, 3}),
                         [](const auto& c) { return c.param.name; });

TEST(LatentAttention, LongContextsExpandInGroupsOfHeads) {
  // Heads so wide that 700 tokens of all of them are too many at a time.
  auto config = config_of({"", {}, {}});
  config.mla.qk_rope_head_dim = config.mla.qk_nope_head_dim = config.mla.v_head_dim = 512;
  LatentAttention mixer(config);
  Initialiser init(3, 0.1);
  mixer.initialise(init);
  torch::manual_seed(1);
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({1, 700, 48});
  auto state = mixer.make_state({.batch = 1, .dtype = torch::kFloat32, .device = torch::kCPU, .window = {}});
  std::vector<torch::Tensor> parts;
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 256}, {256, 444}})
    parts.push_back(mixer.forward(x.narrow(1, begin, count), {.window = {}, .sequences = state.get(), .residual = {}}));
  const torch::AutoGradMode all_heads_at_once(true);
  EXPECT_TRUE(identical(torch::cat(parts, 1), mixer.forward(x, {.window = {}, .residual = {}})));
}

TEST(LatentAttention, OfficialNames) {
  const auto names = [](const Case& c) {
    std::vector<std::string> out;
    for (const auto& [name, p] : parameters_of(*make(c))) out.push_back(name);
    return out;
  };
  EXPECT_EQ(names({"", {}, {}}), (std::vector<std::string>{"q_proj.weight", "k_rope.weight", "kv_proj.0.weight",
                                                           "kv_proj.1.weight", "kv_proj.2.weight", "o_proj.weight"}));
  EXPECT_EQ(names({"", 20, {}}),
            (std::vector<std::string>{"q_proj.0.weight", "q_proj.1.weight", "q_proj.2.weight", "k_rope.weight",
                                      "kv_proj.0.weight", "kv_proj.1.weight", "kv_proj.2.weight", "o_proj.weight"}));
}

TEST(HeadLinear, MatchesTorchAndTakesAnyRows) {
  torch::manual_seed(2);
  const auto weight = torch::randn({3, 13, 205});
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto wide = torch::randn({2, 70, 3, 20}).to(type);
    const auto x = wide.narrow(3, 4, 13);
    const auto y = head_linear(x, weight);
    EXPECT_TRUE(close(y, torch::einsum("blhk,hkn->blhn", {x.to(torch::kFloat64), weight.to(torch::kFloat64)}),
                      type == torch::kFloat32 ? 1e-6 : 1e-2));
    EXPECT_TRUE(identical(head_linear(x.narrow(1, 33, 2), weight), y.narrow(1, 33, 2)));
    EXPECT_TRUE(identical(head_linear(x.narrow(0, 1, 1).narrow(1, 5, 1), weight), y.narrow(0, 1, 1).narrow(1, 5, 1)));
  }
  EXPECT_THROW(head_linear(torch::randn({1, 1, 3, 12}), weight), Error);
}

}  // namespace
}  // namespace lt2
