// Several sequences in one pass, marks and rewinding, tokens that leave the loops early.
#include <filesystem>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

using test::ModelCase;

torch::Tensor tokens(int64_t length, uint64_t seed) {
  torch::manual_seed(seed);
  return torch::randint(61, {length}, torch::kInt64);
}

// Absolute, as for model logits; the gated norms of linear mixers amplify rounding.
void expect_near(const torch::Tensor& a, const torch::Tensor& b) {
  ASSERT_EQ(a.sizes(), b.sizes());
  EXPECT_LE((a - b).abs().max().item<double>(), 5e-4);
  EXPECT_GT(b.abs().max().item<double>(), 0.05) << "logits too flat to prove anything";
}

class Advance : public ::testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override { model = test::make_model(GetParam()); }
  bool loops_can_wait() const {
    return GetParam().loops > 1 && !GetParam().legacy && GetParam().carry == "none" &&
           model->make_state(1).draws.size() == 1;
  }
  // Logits of the tokens from `from` on, read in one piece from the start.
  torch::Tensor whole(const torch::Tensor& all, int64_t from) {
    auto state = model->make_state(1);
    return model->step(all.unsqueeze(0), state, true).squeeze(0).narrow(0, from, all.size(0) - from);
  }
  std::shared_ptr<LoopedTransformer> model;
};

TEST_P(Advance, ASequenceDoesNotSeeTheOthers) {
  const std::vector<int64_t> lengths{70, 3, 1, 129}, then{1, 5, 64, 1};
  std::vector<SequenceState> together, alone;
  for (size_t s = 0; s < lengths.size(); ++s) {
    together.push_back(model->make_state(1));
    alone.push_back(model->make_state(1));
  }
  for (const auto& counts : {lengths, then}) {
    std::vector<Continuation> all;
    for (size_t s = 0; s < counts.size(); ++s) {
      all.push_back(
          {.state = &together[s], .tokens = tokens(counts[s], 10 * s + counts[s]), .all_positions = s % 2 == 0});
    }
    const auto results = model->advance(all);
    for (size_t s = 0; s < counts.size(); ++s) {
      all[s].state = &alone[s];
      EXPECT_TRUE(test::identical(results[s].logits, model->advance({all[s]})[0].logits)) << "sequence " << s;
    }
  }
  for (size_t s = 0; s < lengths.size(); ++s) EXPECT_EQ(together[s].position, alone[s].position);
}

TEST_P(Advance, AnswersAsStepDoes) {
  const auto ids = tokens(90, 4);
  auto a = model->make_state(1), b = model->make_state(1);
  EXPECT_TRUE(test::identical(model->advance({{.state = &a, .tokens = ids}})[0].logits,
                              model->step(ids.unsqueeze(0), b).squeeze(0)));
}

TEST_P(Advance, CloneGoesOnAlone) {
  const auto ids = tokens(75, 1);
  auto first = model->make_state(1);
  model->advance({{.state = &first, .tokens = ids}});
  auto second = first.clone(200);
  const auto more = tokens(3, 2);
  const auto expected = model->advance({{.state = &second, .tokens = more}})[0].logits;
  model->advance({{.state = &second, .tokens = tokens(40, 3)}});  // must not touch the first
  EXPECT_TRUE(test::identical(model->advance({{.state = &first, .tokens = more}})[0].logits, expected));
}

TEST_P(Advance, TokensAreTakenBack) {
  for (const int64_t before : {0, 1, 62, 130}) {
    for (const int64_t keep : {0, 2, 5}) {
      SCOPED_TRACE(fmt::format("{} tokens before, {} kept", before, keep));
      const auto all = tokens(before + 8, 7);
      auto state = model->make_state(1);
      if (before > 0) model->advance({{.state = &state, .tokens = all.narrow(0, 0, before)}});
      state.mark();
      for (int64_t i = 0; i < 3; ++i) model->advance({{.state = &state, .tokens = all.narrow(0, before + i, 1)}});
      model->advance({{.state = &state, .tokens = all.narrow(0, before + 3, 2)}});
      state.rewind(keep);
      EXPECT_EQ(state.position, before + keep);
      const auto next = all.narrow(0, before + 5, 3);
      const auto seen = torch::cat({all.narrow(0, 0, before + keep), next});
      expect_near(model->advance({{.state = &state, .tokens = next, .all_positions = true}})[0].logits,
                  whole(seen, before + keep));
    }
  }
}

TEST_P(Advance, WaitingLoopsCatchUpExactly) {
  if (!loops_can_wait()) GTEST_SKIP() << "loops of this layout cannot wait";
  const auto all = tokens(80, 9);
  auto state = model->make_state(1);
  model->advance({{.state = &state, .tokens = all.narrow(0, 0, 70)}});
  const ExitRule first_loop{.step = 0, .threshold = {}, .defer = true};
  for (int64_t i = 70; i < 75; ++i) model->advance({{.state = &state, .tokens = all.narrow(0, i, 1)}}, first_loop);
  const test::TempFolder folder;
  const auto path = folder.path() / "waiting.safetensors";
  state.save(path);
  auto loaded = model->make_state(1);
  loaded.load(path);
  EXPECT_EQ(loaded.bytes(), state.bytes());
  const Continuation next{.state = &state, .tokens = all.narrow(0, 75, 5), .all_positions = true, .waiting = true};
  const auto result = model->advance({next})[0];
  expect_near(result.logits, whole(all, 70));
  EXPECT_EQ(result.exits, std::vector<int64_t>(10, GetParam().loops - 1));
  auto again = next;
  again.state = &loaded;
  EXPECT_TRUE(test::identical(model->advance({again})[0].logits, result.logits));
}

TEST_P(Advance, EarlyExitReadsTheLoopItNames) {
  if (GetParam().legacy) GTEST_SKIP() << "all loops are mixed";
  if (model->make_state(1).draws.size() > 1) GTEST_SKIP() << "the mean over several patterns";
  torch::NoGradGuard no_grad;
  const auto ids = tokens(40, 12);
  std::vector<torch::Tensor> of_loop;
  Taps taps;
  taps.on("logits.*", [&](const TapPoint&, const torch::Tensor& logits) { of_loop.push_back(logits.squeeze(0)); });
  {
    const Listening listening(*model, taps);
    model->hidden(ids.unsqueeze(0));
  }
  for (int64_t loop = 0; loop < GetParam().loops; ++loop) {
    auto state = model->make_state(1);
    const auto result =
        model->advance({{.state = &state, .tokens = ids, .all_positions = true}}, {.step = loop, .threshold = {}})[0];
    expect_near(result.logits, of_loop[static_cast<size_t>(loop)]);
    EXPECT_EQ(result.exits, std::vector<int64_t>(40, loop));
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, Advance, ::testing::ValuesIn(test::all_layouts()), test::case_name);

TEST(AdvanceRules, AsManyTokensAsAMarkAllowsAreTakenBack) {
  for (const int64_t window : {2, 16, 200}) {
    const auto model = test::make_model({.name = "window", .attention_pattern = "1:0", .window = window});
    for (const int64_t keep : {0, 40, 64}) {
      const auto all = tokens(130 + 64, 7), next = tokens(2, 8);
      auto state = model->make_state(1), plain = model->make_state(1);
      for (int64_t i = 0; i < 130; i += 26) model->advance({{.state = &state, .tokens = all.narrow(0, i, 26)}});
      state.mark();
      model->advance({{.state = &state, .tokens = all.narrow(0, 130, 64)}});
      state.rewind(keep);
      model->advance({{.state = &plain, .tokens = all.narrow(0, 0, 130 + keep)}});
      expect_near(model->advance({{.state = &state, .tokens = next}})[0].logits,
                  model->advance({{.state = &plain, .tokens = next}})[0].logits);
    }
  }
}

TEST(AdvanceRules, AreRefusedWhereTheyCannotBeFollowed) {
  const auto refused = [](const ModelCase& c, const ExitRule& rule) {
    const auto model = test::make_model(c);
    auto state = model->make_state(1);
    EXPECT_THROW(model->advance({{.state = &state, .tokens = tokens(3, 1)}}, rule), Error) << c.name;
  };
  refused({.name = "no gate"}, {.step = {}, .threshold = 0.5});
  refused({.name = "no such loop"}, {.step = 2, .threshold = {}});
  refused({.name = "mixed loops", .legacy = true}, {.step = 0, .threshold = {}});
  refused({.name = "carry", .layer_pattern = "gdn", .carry = "token"}, {.step = 0, .threshold = {}, .defer = true});
}

TEST(AdvanceRules, TheThresholdFollowsTheGate) {
  const auto model = test::make_model({.name = "ouro", .loops = 4, .type = "ouro"});
  torch::NoGradGuard no_grad;
  model->early_exit_gate->weight.mul_(8);
  const auto ids = tokens(50, 3);
  std::vector<torch::Tensor> gates;
  Taps taps;
  taps.on("loop.*.out", [&](const TapPoint&, const torch::Tensor& h) {
    gates.push_back(
        torch::sigmoid(torch::matmul(h, model->early_exit_gate->weight.t()) + model->early_exit_gate->bias).view(-1));
  });
  {
    const Listening listening(*model, taps);
    model->hidden(ids.unsqueeze(0));
  }
  std::map<int64_t, int> histogram;
  for (const double threshold : {0.3, 0.6, 0.9, 1.0}) {
    auto state = model->make_state(1);
    const auto exits = model
                           ->advance({{.state = &state, .tokens = ids, .all_positions = true}},
                                     {.step = {}, .threshold = threshold})[0]
                           .exits;
    for (int64_t i = 0; i < 50; ++i) {
      double survival = 1, cumulated = 0;
      int64_t expected = 3;
      bool near = false;
      for (int64_t t = 0; t < 3; ++t) {
        const double leaves = gates[static_cast<size_t>(t)][i].item<double>();
        cumulated += leaves * survival;
        survival *= 1 - leaves;
        near = near || std::abs(cumulated - threshold) < 1e-5;
        if (cumulated >= threshold && expected == 3) expected = t;
      }
      if (!near) {
        EXPECT_EQ(exits[static_cast<size_t>(i)], expected) << "token " << i << ", threshold " << threshold;
      }
      ++histogram[expected];
    }
  }
  EXPECT_GE(histogram.size(), 3u) << "the thresholds tell nothing apart";
}

}  // namespace
}  // namespace lt2
