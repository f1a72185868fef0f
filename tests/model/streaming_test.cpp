// Streaming is exact by construction: whole, in pieces, token by token, alone or in a batch, before and after a file.
#include <filesystem>
#include <random>

#include "base/error.h"
#include "model/sequence_state.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

using test::ModelCase;

class Streaming : public ::testing::TestWithParam<ModelCase> {
 protected:
  static torch::Tensor tokens(int64_t batch, int64_t length) {
    torch::manual_seed(11);
    return torch::randint(61, {batch, length}, torch::kInt64);
  }
  // All positions' logits, the sequence cut into these pieces.
  static torch::Tensor run(LoopedTransformer& model, const torch::Tensor& tokens, const std::vector<int64_t>& pieces) {
    auto state = model.make_state(tokens.size(0));
    std::vector<torch::Tensor> parts;
    int64_t begin = 0;
    for (const int64_t piece : pieces) {
      parts.push_back(model.step(tokens.narrow(1, begin, piece), state, /*all_positions=*/true));
      begin += piece;
    }
    EXPECT_EQ(begin, tokens.size(1));
    EXPECT_EQ(state.position, begin);
    return torch::cat(parts, 1);
  }
  // max |a - b| within `limit`, absolute as for model logits.
  static void expect_within(const torch::Tensor& a, const torch::Tensor& b, double limit) {
    ASSERT_EQ(a.sizes(), b.sizes());
    EXPECT_LE((a - b).abs().max().item<double>(), limit);
    EXPECT_GT(b.abs().max().item<double>(), 0.05) << "logits too flat to prove anything";
  }
  // Absolute, as for model logits: the gated norms of linear mixers amplify rounding.
  static double limit() {
    const auto& pattern = GetParam().layer_pattern;
    const bool softmax_only = pattern == "full" || pattern == "nsa" || pattern == "dsa" || pattern == "mla";
    return softmax_only ? 1e-4 : 5e-4;
  }
};

TEST_P(Streaming, PiecesAndTokensMatchWhole) {
  const auto model = test::make_model(GetParam());
  const auto ids = tokens(2, 150);
  const auto whole = run(*model, ids, {150});
  std::mt19937 random(3);
  for (int trial = 0; trial < 3; ++trial) {
    std::vector<int64_t> pieces;
    for (int64_t left = 150; left > 0; left -= pieces.back()) {
      pieces.push_back(std::min<int64_t>(left, 1 + static_cast<int64_t>(random() % (trial == 0 ? 9 : 90))));
    }
    expect_within(run(*model, ids, pieces), whole, limit());
  }
  expect_within(run(*model, ids, std::vector<int64_t>(150, 1)), whole, limit());
}

TEST_P(Streaming, TrainingForwardMatchesPrefill) {
  const auto c = GetParam();
  const auto model = test::make_model(c);
  torch::NoGradGuard no_grad;
  const auto ids = tokens(2, 97);
  auto state = model->make_state(2);
  torch::Tensor mean;
  for (size_t d = 0; d < state.draws.size(); ++d) {
    const auto part =
        model->logits(model->hidden(ids, static_cast<int64_t>(d))) / static_cast<double>(state.draws.size());
    mean = mean.defined() ? mean + part : part;
  }
  expect_within(run(*model, ids, {97}), mean, limit());
}

TEST_P(Streaming, SplitAtChunkBordersChangesNoBit) {
  const auto model = test::make_model(GetParam());
  const auto ids = tokens(1, 200);
  const auto whole = run(*model, ids, {200});
  EXPECT_TRUE(test::identical(run(*model, ids, {64, 136}), whole));
  EXPECT_TRUE(test::identical(run(*model, ids, {128, 64, 8}), whole));
  EXPECT_TRUE(test::identical(run(*model, tokens(1, 129), {128, 1}), run(*model, tokens(1, 129), {129})));
}

TEST_P(Streaming, BatchChangesNoBit) {
  const auto model = test::make_model(GetParam());
  const auto ids = tokens(5, 77);
  const std::vector<int64_t> schedule{64, 10, 1, 1, 1};
  const auto together = run(*model, ids, schedule);
  for (int64_t b = 0; b < 5; ++b)
    EXPECT_TRUE(test::identical(run(*model, ids.narrow(0, b, 1), schedule), together.narrow(0, b, 1)));
}

TEST_P(Streaming, SaveAndLoadChangesNoBit) {
  const auto model = test::make_model(GetParam());
  const auto ids = tokens(2, 90);
  const test::TempFolder folder;
  const auto path = folder.path() / "state.safetensors";
  auto state = model->make_state(2);
  model->step(ids.narrow(1, 0, 71), state);
  state.save(path);
  auto loaded = model->make_state(2);
  loaded.load(path);
  EXPECT_EQ(loaded.position, 71);
  EXPECT_EQ(loaded.bytes(), state.bytes());
  for (int64_t i = 71; i < 90; ++i) {
    const auto next = ids.narrow(1, i, 1);
    ASSERT_TRUE(test::identical(model->step(next, loaded), model->step(next, state))) << "token " << i;
  }
}

TEST_P(Streaming, FutureTokensChangeNothing) {
  const auto model = test::make_model(GetParam());
  auto ids = tokens(1, 100);
  const auto before = run(*model, ids, {100});
  ids[0][80] = (ids[0][80] + 1) % 61;
  const auto after = run(*model, ids, {100});
  EXPECT_TRUE(test::identical(after.narrow(1, 0, 80).contiguous(), before.narrow(1, 0, 80).contiguous()));
  EXPECT_GT((after - before).narrow(1, 80, 20).abs().max().item<double>(), 1e-4);
}

TEST_P(Streaming, StateBytesAreAsComputed) {
  const auto model = test::make_model(GetParam());
  auto state = model->make_state(3);
  for (const int64_t length : {1, 30, 40}) {
    model->step(tokens(3, length), state);
    int64_t expected = 0;
    for (const auto& draw : state.draws) {
      for (size_t s = 0; s < draw.slots.size(); ++s) {
        const auto layers = model->layers.size();
        expected += 3 * model->layers[s % layers]->mixer->state_bytes(
                            state.position, draw.plan.windows[s / layers][s % layers], torch::kFloat32);
      }
    }
    EXPECT_EQ(state.bytes(), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, Streaming, ::testing::ValuesIn(test::all_layouts()), test::case_name);

TEST(StreamingBf16, PiecesStayClose) {
  const auto model =
      test::make_model({.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1"});
  model->compute_type = torch::kBFloat16;
  torch::manual_seed(1);
  const auto ids = torch::randint(61, {1, 70}, torch::kInt64);
  auto whole = model->make_state(1), parts = model->make_state(1);
  const auto expected = model->step(ids, whole);
  model->step(ids.narrow(1, 0, 64), parts);
  EXPECT_TRUE(test::identical(model->step(ids.narrow(1, 64, 6), parts), expected));
}

TEST(StateFile, RefusesAnotherModelsState) {
  const test::TempFolder folder;
  const auto path = folder.path() / "state.safetensors";
  const auto a = test::make_model({.name = "full"}), b = test::make_model({.name = "gdn", .layer_pattern = "gdn"});
  auto state = a->make_state(1);
  a->step(torch::zeros({1, 3}, torch::kInt64), state);
  state.save(path);
  auto other = b->make_state(1);
  EXPECT_THROW(other.load(path), Error);
  auto two = a->make_state(2);
  EXPECT_THROW(two.load(path), Error);
}

}  // namespace
}  // namespace lt2
