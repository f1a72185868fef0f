// Every mixer with each size set to one, and with every memory layout of input and gradient, against itself in fp64,
// where every op is its reference.
#include "base/error.h"
#include "mixers/mixer.h"
#include "tests/support/compare.h"
#include "tests/support/layouts.h"

namespace lt2 {
namespace {

using torch::Tensor;

struct Sizes {
  int64_t batch = 2, tokens = 7, heads = 4, kv_heads = 2;
};
std::string text(const Sizes& n) {
  return fmt::format("batch {}, {} tokens, {} heads, {} key heads", n.batch, n.tokens, n.heads, n.kv_heads);
}

constexpr int64_t kDim = 32;

std::shared_ptr<Mixer> make(const std::string& type, const Sizes& n) {
  ModelConfig config;
  config.dim = kDim;
  config.n_layers = 1;
  config.n_heads = n.heads;
  config.n_kv_heads = n.kv_heads;
  config.vocab_size = 10;
  config.layer_pattern = type;
  config.use_attn_gate = true;
  config.mamba2.d_state = 8;
  config.nsa.block_size = 2;
  config.nsa.block_counts = 2;
  config.nsa.window_size = 3;
  config.dsa.dim = 8;
  config.dsa.tail_dim = 4;
  config.dsa.topk = 3;
  config.dsa.score_dim = 4;
  config.dsa.indexer = "lightning";
  config.dsa.index_n_heads = n.heads;
  config.dsa.index_head_dim = 8;
  config.dsa.index_rope_dim = 4;
  config.mla.kv_lora_rank = 10;
  config.mla.qk_rope_head_dim = 4;
  config.mla.qk_nope_head_dim = 6;
  config.mla.v_head_dim = 6;
  validate_model(config);
  auto mixer = make_mixer(type, config);
  Initialiser init(3, 1 / std::sqrt(static_cast<double>(kDim)));
  mixer->initialise(init);
  torch::NoGradGuard no_grad;
  torch::manual_seed(4);
  for (auto& [name, p] : parameters_of(*mixer)) {
    if (name == "w_gate.weight") p.copy_(0.3 * torch::randn(p.sizes()));  // initially zero, and zero has no effect
  }
  return mixer;
}

struct Result {
  Tensor y, dx;
  NamedTensors gradients;
};

Result run(Mixer& mixer, const Tensor& x_any, const Tensor& dy) {
  mixer.zero_grad();
  const auto x = x_any.detach().set_requires_grad(true);  // shares memory and strides
  std::vector<Tensor> losses;
  const auto y = mixer.forward(x, {.losses = &losses});
  y.backward(dy, /*retain_graph=*/true);
  for (const auto& loss : losses) loss.backward();
  Result out{y.detach(), x.grad().clone(), {}};
  for (const auto& [name, p] : parameters_of(mixer)) {
    out.gradients.emplace_back(name, p.grad().defined() ? p.grad().clone() : Tensor());
  }
  return out;
}

// The q and k projections for a single token without a past: o is v times q . k, and the norm over o divides by that
// number. Their gradients cancel and leave the rounding of the others, which grows as that number approaches zero.
bool cancels(const std::string& name, const Result& of) {
  return of.y.size(1) == 1 && (name == "q_proj.weight" || name == "k_proj.weight");
}

::testing::AssertionResult alike(const Result& a, const Result& b, double values, double gradients) {
  if (const auto same = test::close(a.y, b.y, values); !same) return same;
  if (const auto same = test::close(a.dx, b.dx, gradients); !same)
    return ::testing::AssertionFailure() << "gradient of x: " << same.message();
  double largest = 0;
  for (const auto& [name, g] : b.gradients) {
    if (g.defined()) largest = std::max(largest, g.abs().max().item<double>());
  }
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    const auto& [name, g] = a.gradients[i];
    const auto& expected = b.gradients[i].second;
    if (g.defined() != expected.defined()) return ::testing::AssertionFailure() << name << ": only one has a gradient";
    if (!g.defined()) continue;
    // Relative to the tensor, with a floor for tensors whose gradient is almost zero.
    const double scale = std::max(expected.abs().max().item<double>(), 1e-3 * largest);
    const double error = (g.to(torch::kFloat64) - expected).abs().max().item<double>();
    if (!(error <= (cancels(name, b) ? std::max(gradients * scale, 3e-5 * largest) : gradients * scale)))
      return ::testing::AssertionFailure() << "gradient of " << name << ": " << error << " of " << scale;
  }
  return ::testing::AssertionSuccess();
}

class MixerProperties : public ::testing::TestWithParam<std::string> {};

TEST_P(MixerProperties, MatchFp64AtEverySizeOfOne) {
  for (const Sizes& n : {Sizes{}, Sizes{.batch = 1}, Sizes{.tokens = 1}, Sizes{.kv_heads = 1},
                         Sizes{.heads = 1, .kv_heads = 1}, Sizes{1, 1, 1, 1}}) {
    SCOPED_TRACE(text(n));
    const auto mixer = make(GetParam(), n), exact = make(GetParam(), n);
    exact->to(torch::kFloat64);
    torch::manual_seed(8);
    const auto x = torch::randn({n.batch, n.tokens, kDim}), dy = torch::randn({n.batch, n.tokens, kDim});
    const auto truth = run(*exact, x.to(torch::kFloat64), dy.to(torch::kFloat64));
    EXPECT_TRUE(alike(run(*mixer, x, dy), truth, 2e-5, 1e-4));

    torch::NoGradGuard no_grad;
    auto state = mixer->make_state({.batch = n.batch, .window = {}});
    std::vector<Tensor> steps;
    for (int64_t t = 0; t < n.tokens; ++t)
      steps.push_back(mixer->forward(x.narrow(1, t, 1), {.window = {}, .sequences = state.get(), .residual = {}}));
    EXPECT_TRUE(test::close(torch::cat(steps, 1), truth.y, 2e-5)) << "token by token";
  }
}

TEST_P(MixerProperties, LayoutsOfInputAndGradientChangeNothing) {
  for (const Sizes& n : {Sizes{}, Sizes{1, 1, 1, 1}}) {
    SCOPED_TRACE(text(n));
    const auto mixer = make(GetParam(), n);
    torch::manual_seed(8);
    const auto values = torch::randn({n.batch, n.tokens, kDim}), gradients = torch::randn({n.batch, n.tokens, kDim});
    for (const auto& layout : test::layouts()) {
      const auto x = layout.lay(values), dy = layout.lay(gradients);
      const auto dense = torch::MemoryFormat::Contiguous;
      EXPECT_TRUE(alike(run(*mixer, x, dy), run(*mixer, x.clone(dense), dy.clone(dense)), 1e-6, 1e-5)) << layout.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, MixerProperties, ::testing::ValuesIn(mixer_types()),
                         [](const auto& type) { return type.param; });

}  // namespace
}  // namespace lt2
