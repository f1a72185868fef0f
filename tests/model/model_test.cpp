// The looped model's structure: names, sizes, initial values, gradients through loops.
#include <cmath>
#include <set>

#include "config/patterns.h"
#include "model/accounting.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

using test::ModelCase;

TEST(Model, OfficialNames) {
  const auto model = test::make_model({.name = "h",
                                       .layer_pattern = "interleaved:1:1:gdn:full",
                                       .attention_pattern = "1:1",
                                       .layers = 2,
                                       .gate = true});
  std::set<std::string> names;
  for (const auto& [name, parameter] : model->official_parameters()) EXPECT_TRUE(names.insert(name).second) << name;
  for (const char* name :
       {"tok_embeddings.weight", "output.weight", "norm.weight", "residual_weight", "block_residual_weight",
        "layers.0.attention.A_log", "layers.0.attention.dt_bias", "layers.0.attention.q_conv1d.weight",
        "layers.0.attention.o_norm.weight", "layers.0.attention.g_proj.weight", "layers.1.attention.wq.weight",
        "layers.1.attention.w_gate.weight", "layers.1.feed_forward.w2.weight", "layers.1.attention_norm.weight",
        "layers.1.ffn_norm.weight"}) {
    EXPECT_TRUE(names.count(name)) << name;
  }
  EXPECT_EQ(names.size(), 13u + 5u + 2 * 5u + 5u);
}

// The attention pattern covers all layers, but only mixers that see windows may use it.
TEST(Model, WindowsReachOnlyMixersThatSeeThem) {
  const auto tokens = torch::arange(30).unsqueeze(0) % 61;
  for (const auto& type : layer_type_names()) {
    const auto narrow = test::make_model({.layer_pattern = type, .attention_pattern = "1:0", .window = 2});
    const auto wide = test::make_model({.layer_pattern = type, .attention_pattern = "0:1"});
    auto narrow_state = narrow->make_state(1), wide_state = wide->make_state(1);
    const bool same = torch::equal(narrow->step(tokens, narrow_state, true), wide->step(tokens, wide_state, true));
    EXPECT_EQ(same, !sees_windows(type)) << type;
    const auto bytes = [](const auto& model) { return state_bytes(*model, 30, torch::kFloat32); };
    EXPECT_EQ(bytes(narrow) == bytes(wide), !sees_windows(type)) << type;
  }
}

TEST(Model, GdnParameterCountFollowsItsFormula) {
  for (const int64_t dim : {256, 1024}) {
    ModelConfig config;
    config.dim = dim;
    config.n_layers = 1;
    config.n_heads = 16;
    config.vocab_size = 10;
    config.layer_pattern = "gdn";
    validate_model(config);
    const LoopedTransformer model(config);
    int64_t count = 0;
    for (const auto& parameter : model.layers[0]->mixer->parameters()) count += parameter.numel();
    const int64_t H = 16, d_v = 2 * (3 * dim / 4 / H);
    EXPECT_EQ(count, 6 * dim * dim + 2 * dim * H + 12 * dim + 2 * H + d_v);
  }
}

TEST(Model, InitialisationIsOfficial) {
  ModelConfig config;
  config.dim = 256;
  config.n_layers = 4;
  config.n_heads = 4;
  config.vocab_size = 300;
  config.layer_pattern = "interleaved:1:1:gdn:full";
  config.attention_pattern = "1:1";
  config.init_std_factor = "current_depth";
  config.use_attn_gate = true;
  validate_model(config);
  LoopedTransformer model(config);
  model.initialise();
  const double s = 1.0 / 16, s2 = 1.0 / std::sqrt(static_cast<double>(ffn_hidden_dim(config))), shrink = 0.98658;
  const auto expect_std = [](const torch::Tensor& t, double std) {
    EXPECT_NEAR(t.std().item<double>() / std, 1, 0.03);
  };
  const auto find = [&](const std::string& wanted) {
    for (const auto& [name, parameter] : model.official_parameters()) {
      if (name == wanted) return parameter;
    }
    ADD_FAILURE() << wanted;
    return torch::Tensor();
  };
  expect_std(find("layers.1.attention.wq.weight"), s * shrink);
  expect_std(find("layers.1.attention.wo.weight"), s / std::sqrt(4.0));  // the limit 3 s is 6 sigma here
  expect_std(find("layers.3.attention.wo.weight"), s / std::sqrt(8.0));
  expect_std(find("layers.0.attention.o_proj.weight"), s * shrink);  // no depth factor in linear mixers
  expect_std(find("layers.1.feed_forward.w2.weight"), s2 * shrink / std::sqrt(4.0));
  expect_std(find("layers.0.feed_forward.w2.weight"), s * shrink / std::sqrt(2.0));  // the official quirk
  expect_std(find("tok_embeddings.weight"), s * shrink);
  EXPECT_LE(find("layers.1.attention.wq.weight").abs().max().item<double>(), 3 * s * (1 + 1e-6));
  for (const char* zero : {"layers.1.attention.w_gate.weight", "residual_weight", "block_residual_weight"}) {
    EXPECT_EQ(find(zero).abs().max().item<double>(), 0) << zero;
  }
  const auto rate = torch::softplus(find("layers.0.attention.dt_bias"));
  EXPECT_GE(rate.min().item<double>(), 0.00099);
  EXPECT_LE(rate.max().item<double>(), 0.1001);
  const auto A = find("layers.0.attention.A_log").exp();
  EXPECT_GT(A.min().item<double>(), 0);
  EXPECT_LE(A.max().item<double>(), 16);
  EXPECT_LE(find("layers.0.attention.q_conv1d.weight").abs().max().item<double>(), 0.5);
  LoopedTransformer again(config);
  again.initialise();
  EXPECT_TRUE(test::identical(again.tok_embeddings, model.tok_embeddings));
}

// Zero residual weights: T loops of N layers are exactly T N layers with repeated weights.
TEST(Model, LoopsAreDepth) {
  const auto looped = test::make_model({.name = "l", .loops = 3, .layers = 1});
  const auto deep = test::make_model({.name = "d", .loops = 1, .layers = 3});
  torch::NoGradGuard no_grad;
  for (auto* residual :
       {&looped->residual_weight, &looped->block_residual_weight, &deep->residual_weight, &deep->block_residual_weight})
    residual->zero_();
  auto from = looped->layers[0]->named_parameters();
  for (auto& layer : deep->layers) {
    for (auto& item : layer->named_parameters()) item.value().copy_(from[item.key()]);
  }
  deep->tok_embeddings.copy_(looped->tok_embeddings);
  deep->output->weight.copy_(looped->output->weight);
  const auto ids = torch::randint(61, {2, 40}, torch::kInt64);
  EXPECT_TRUE(test::identical(deep->hidden(ids), looped->hidden(ids)));
}

TEST(Model, LossIsTheMeanCrossEntropyOfTheLogits) {
  for (const auto& c : test::all_layouts()) {
    const auto model = test::make_model(c);
    torch::manual_seed(2);
    const auto ids = torch::randint(61, {2, 33}, torch::kInt64), targets = torch::randint(61, {2, 33}, torch::kInt64);
    const auto losses = model->losses(ids, targets);
    EXPECT_EQ(losses.mixers.defined(), c.indexer == "lightning") << c.name;
    torch::NoGradGuard no_grad;
    const auto expected =
        torch::cross_entropy_loss(model->logits(model->hidden(ids)).reshape({-1, 61}), targets.reshape(-1));
    EXPECT_NEAR(losses.cross_entropy.item<double>(), expected.item<double>(), 1e-5) << c.name;
  }
}

TEST(Model, DirectionalDerivativeMatchesGradient) {
  const auto model = test::make_model(
      {.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1", .gate = true});
  torch::manual_seed(9);
  const auto ids = torch::randint(61, {2, 70}, torch::kInt64), targets = torch::randint(61, {2, 70}, torch::kInt64);
  model->loss(ids, targets).backward();
  torch::NoGradGuard no_grad;
  // Along the gradient itself the derivative is its squared norm: large enough to see in fp32 differences.
  double squared = 0;
  for (const auto& [name, p] : model->official_parameters())
    squared += p.grad().to(torch::kFloat64).square().sum().item<double>();
  const double step = 1e-3 / std::sqrt(squared);
  const auto shifted_loss = [&](double amount) {
    for (auto& [name, p] : model->official_parameters()) p.add_(p.grad(), amount);
    const double loss = model->loss(ids, targets).item<double>();
    for (auto& [name, p] : model->official_parameters()) p.add_(p.grad(), -amount);
    return loss;
  };
  const double slope = (shifted_loss(step) - shifted_loss(-step)) / (2 * step);
  EXPECT_NEAR(slope / squared, 1, 0.02);
}

TEST(Model, Bf16TrainsCloseToFp32) {
  const auto model =
      test::make_model({.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1"});
  torch::manual_seed(4);
  const auto ids = torch::randint(61, {2, 70}, torch::kInt64), targets = torch::randint(61, {2, 70}, torch::kInt64);
  const auto exact = model->loss(ids, targets);
  model->compute_type = torch::kBFloat16;
  const auto rounded = model->loss(ids, targets);
  EXPECT_NEAR(rounded.item<double>() / exact.item<double>(), 1, 0.01);
  EXPECT_NE(rounded.item<double>(), exact.item<double>());
  rounded.backward();
  for (const auto& [name, p] : model->official_parameters()) {
    ASSERT_TRUE(p.grad().defined()) << name;
    EXPECT_EQ(p.grad().dtype(), torch::kFloat32) << name;
    EXPECT_TRUE(torch::isfinite(p.grad()).all().item<bool>()) << name;
  }
}

TEST(Accounting, CountsWhatIsThere) {
  const auto model =
      test::make_model({.name = "h", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1"});
  int64_t elements = 0;
  for (const auto& [name, p] : model->official_parameters()) elements += p.numel();
  EXPECT_EQ(parameter_count(*model), elements);
  EXPECT_EQ(effective_depth(*model), 6);
  // Twice the loops, twice everything but the output projection.
  const auto longer = test::make_model(
      {.name = "h", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1", .loops = 4});
  const double output = 2.0 * 48 * 61;
  EXPECT_DOUBLE_EQ(forward_flops_per_token(*longer, 100) - output, 2 * (forward_flops_per_token(*model, 100) - output));
  // Only the full layer's cache grows: 2 loops x keys and values x 48 channels x 4 bytes a token.
  EXPECT_EQ(state_bytes(*model, 2000, torch::kFloat32) - state_bytes(*model, 1000, torch::kFloat32),
            1000 * 2 * 2 * 48 * 4);
}

}  // namespace
}  // namespace lt2
