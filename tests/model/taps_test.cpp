// Taps in a pass: every point is called once, with its tensor, and no bit of the pass changes.
#include "model/taps.h"

#include <map>

#include "base/threads.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

using test::identical;
using test::ModelCase;

// All tensors that a pass gives, by name (and by position, if a name comes more than once).
struct Heard {
  Taps taps;
  std::map<std::string, torch::Tensor> tensors;
  std::vector<TapPoint> points;

  Heard() {
    for (const auto* pattern : {"embedding", "loop.*.layer.*.mixer_in", "loop.*.layer.*.mixer_out",
                                "loop.*.layer.*.out", "loop.*.layer.*.state", "loop.*.out", "logits.*"}) {
      taps.on(pattern, [this](const TapPoint& at, const torch::Tensor& tensor) {
        points.push_back(at);
        const auto key = fmt::format("{} of sequence {}, draw {}", at.name(), at.sequence, at.draw);
        EXPECT_TRUE(tensors.emplace(key, tensor).second) << key << " was given twice";
      });
    }
  }
  torch::Tensor operator[](const std::string& name) const {
    const auto found = tensors.find(name + " of sequence 0, draw 0");
    return found == tensors.end() ? torch::Tensor() : found->second;
  }
};

// Tiny models: threads would only wait for each other.
class TapsTest : public ::testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override { set_num_threads(1); }
  void TearDown() override { set_num_threads(allowed_cores()); }
};

struct Trained {
  LoopedTransformer::Losses losses;
  NamedTensors gradients;
};

Trained train(const ModelCase& c, Recompute level, torch::ScalarType type, Heard* heard) {
  const auto model = test::make_model(c);
  model->compute_type = type;
  model->recompute = level;
  if (heard) model->taps = &heard->taps;
  torch::manual_seed(9);
  const auto tokens = torch::randint(61, {2, 38});
  Trained out{model->losses(tokens.narrow(1, 0, 37), tokens.narrow(1, 1, 37)), {}};
  out.losses.total.backward();
  for (const auto& [name, parameter] : model->official_parameters()) out.gradients.emplace_back(name, parameter.grad());
  return out;
}

TEST_P(TapsTest, ChangeNoBitOfTraining) {
  const auto& c = GetParam();
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto alone = train(c, Recompute::kNone, type, nullptr);
    for (const auto level : {Recompute::kNone, Recompute::kLoop, Recompute::kBlock, Recompute::kLayer}) {
      Heard heard;
      const auto watched = train(c, level, type, &heard);
      EXPECT_TRUE(identical(watched.losses.cross_entropy, alone.losses.cross_entropy));
      for (size_t i = 0; i < alone.gradients.size(); ++i) {
        const auto& [name, gradient] = alone.gradients[i];
        ASSERT_EQ(watched.gradients[i].second.defined(), gradient.defined()) << name;
        if (gradient.defined()) {
          EXPECT_TRUE(identical(watched.gradients[i].second, gradient)) << name << " " << static_cast<int>(level);
        }
      }
      EXPECT_EQ(static_cast<int64_t>(heard.tensors.size()), 1 + c.loops * (2 + 3 * c.layers));
    }
  }
}

TEST_P(TapsTest, GiveWhatStandsThere) {
  const auto& c = GetParam();
  const auto model = test::make_model(c);
  const auto tokens = torch::randint(61, {2, 37});
  Heard heard;
  const Listening listening(*model, heard.taps);
  const auto last = model->hidden(tokens);
  EXPECT_TRUE(identical(heard["embedding"], torch::embedding(model->tok_embeddings, tokens)));
  for (int64_t t = 0; t < c.loops; ++t) {
    EXPECT_TRUE(identical(heard[fmt::format("logits.{}", t)], model->logits(heard[fmt::format("loop.{}.out", t)])));
    for (int64_t i = 0; i < c.layers; ++i) {
      const auto at = [&](const char* what) { return heard[fmt::format("loop.{}.layer.{}.{}", t, i, what)]; };
      ASSERT_TRUE(at("mixer_in").defined() && at("out").defined());
      if (c.carry != "none") continue;  // the mixer reads more than its input
      const auto& layer = model->layers[static_cast<size_t>(i)];
      const auto window = attention_plan(model->config()).windows[static_cast<size_t>(t)][static_cast<size_t>(i)];
      const auto alone = layer->mixer->forward(at("mixer_in"), {.window = layer->window(window)});
      EXPECT_TRUE(identical(at("mixer_out"), alone)) << t << " " << i;
    }
  }
  if (!c.legacy) {
    EXPECT_TRUE(identical(heard[fmt::format("loop.{}.out", c.loops - 1)], last));
  }
}

// A loss on tapped tensors gives the same parameters the same gradients, recomputed or not.
TEST_P(TapsTest, GradientsGoThroughThem) {
  const auto gradients = [&](Recompute level) {
    const auto model = test::make_model(GetParam());
    model->recompute = level;
    torch::Tensor loss = torch::zeros({});
    {
      Taps taps;  // gone before the backward pass
      const auto add = [&](const TapPoint&, const torch::Tensor& x) {
        loss = loss + x.to(torch::kFloat32).square().mean();
      };
      for (const auto* pattern : {"loop.*.layer.0.mixer_out", "loop.0.layer.*.mixer_in", "loop.0.out"})
        taps.on(pattern, add);
      const Listening listening(*model, taps);
      torch::manual_seed(9);
      model->hidden(torch::randint(61, {2, 37}));
    }
    loss.backward();
    NamedTensors out;
    for (const auto& [name, parameter] : model->official_parameters()) out.emplace_back(name, parameter.grad());
    return out;
  };
  const auto kept = gradients(Recompute::kNone);
  int64_t reached = 0;
  for (const auto level : {Recompute::kLoop, Recompute::kBlock, Recompute::kLayer}) {
    const auto again = gradients(level);
    for (size_t i = 0; i < kept.size(); ++i) {
      const auto& [name, gradient] = kept[i];
      const double largest = gradient.defined() ? gradient.abs().max().item<double>() : 0;
      if (largest == 0) continue;  // a recomputed part may give zeros where the whole graph gives no gradient
      ++reached;
      ASSERT_TRUE(again[i].second.defined()) << name;
      EXPECT_TRUE(test::close(again[i].second / largest, gradient / largest, 2e-5)) << name;
    }
  }
  EXPECT_GT(reached, 3 * 3);
}

TEST_P(TapsTest, ChangeNoBitOfInference) {
  const auto model = test::make_model(GetParam());
  torch::NoGradGuard no_grad;
  const auto run = [&](Heard* heard) {
    std::vector<torch::Tensor> logits;
    std::vector<SequenceState> states;
    for (int i = 0; i < 3; ++i) states.push_back(model->make_state(1));
    torch::manual_seed(3);
    for (const int64_t length : {70, 1, 3}) {
      Heard part;
      if (heard) model->taps = &part.taps;
      std::vector<Continuation> sequences;
      for (auto& state : states) sequences.push_back({.state = &state, .tokens = torch::randint(61, {length})});
      for (const auto& result : model->advance(sequences)) logits.push_back(result.logits);
      model->taps = nullptr;
      if (heard) heard->points = part.points;
    }
    return torch::cat(logits);
  };
  Heard heard;
  EXPECT_TRUE(identical(run(&heard), run(nullptr)));
  std::map<int64_t, int64_t> states;
  for (const auto& at : heard.points) {
    EXPECT_EQ(at.rows, (std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {1, 3}, {2, 3}})) << at.name();
    if (at.kind == TapKind::kState) ++states[at.sequence];
  }
  EXPECT_EQ(states.size(), 3U);
  EXPECT_EQ(states[0], states[2]);
}

INSTANTIATE_TEST_SUITE_P(Layouts, TapsTest, ::testing::ValuesIn(test::all_layouts()), test::case_name);

// Tokens that run a loop later reach the listeners then.
TEST(Taps, OfDeferredLoopsComeWhenTheyRun) {
  const auto model = test::make_model({.name = "full", .loops = 2});
  torch::NoGradGuard no_grad;
  auto state = model->make_state(1);
  std::vector<std::pair<int64_t, int64_t>> ran;  // loop, tokens
  using Rows = std::vector<std::pair<int64_t, int64_t>>;
  Taps taps;
  taps.on("loop.*.out", [&](const TapPoint& at, const torch::Tensor& h) {
    ran.emplace_back(at.loop, h.size(1));
    EXPECT_EQ(at.rows, (Rows{{0, h.size(1)}}));
  });
  const Listening listening(*model, taps);
  const ExitRule first{.step = 0, .threshold = {}, .defer = true};
  for (int i = 0; i < 3; ++i) model->advance({{.state = &state, .tokens = torch::tensor({i})}}, first);
  model->advance({{.state = &state, .tokens = torch::tensor({7})}});
  EXPECT_EQ(ran, (std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 1}, {0, 1}, {0, 1}, {1, 4}}));
}

TEST(Taps, ListenWhereTheyAreAsked) {
  Taps taps;
  taps.on("loop.1.layer.*.state.S", {});
  EXPECT_TRUE(taps.wants({.kind = TapKind::kState, .loop = 1, .layer = 4}));
  EXPECT_TRUE(taps.wants({.kind = TapKind::kState, .loop = 1, .layer = 4, .tensor = "S"}));
  EXPECT_FALSE(taps.wants({.kind = TapKind::kState, .loop = 1, .layer = 4, .tensor = "tail"}));
  EXPECT_FALSE(taps.wants({.kind = TapKind::kState, .loop = 0, .layer = 4}));
  EXPECT_FALSE(taps.wants({.kind = TapKind::kLayerOut, .loop = 1, .layer = 4}));
  for (const std::string wrong :
       {"", "embeddings", "loop", "loop.1", "loop.-1.out", "loop.1.5.out", "loop.x.out", "loop.1.layer.2", "logits",
        "logits.1.2", "loop.1.layer.2.mixer", "loop.1.layer.2.out.S", "loop.1.layer.2.state.", "loop..out",
        "loop.99999999999999999999.out", "embedding.0"}) {
    EXPECT_NE(test::error_of([&] { taps.on(wrong, {}); }).find("\"" + wrong + "\""), std::string::npos) << wrong;
  }
}

}  // namespace
}  // namespace lt2
