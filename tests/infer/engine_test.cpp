// Batching, cutting, sharing, saving, cancelling and drafting never change what a request gets.
#include "infer/engine.h"

#include <filesystem>
#include <random>

#include "base/error.h"
#include "infer/generate.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

GenerateRequest random_request(std::mt19937& random, bool greedy) {
  GenerateRequest request;
  request.prompt.resize(1 + random() % (random() % 4 == 0 ? 200 : 20));
  for (auto& token : request.prompt) token = static_cast<int32_t>(random() % 61);
  request.max_gen_len = 1 + static_cast<int64_t>(random() % 12);
  request.seed = random();
  if (!greedy) {
    request.sampling.temperature = 0.5 + static_cast<double>(random() % 10) / 10;
    if (random() % 2) request.sampling.top_k = 10;
    if (random() % 2) request.sampling.min_p = 0.05;
    if (random() % 2) request.sampling.repetition_penalty = 1.3;
    if (random() % 2) request.sampling.presence_penalty = 0.4;
  }
  return request;
}

// Expects greedy `text` to be the continuation by the whole model, wherever the gap between the two best logits is
// clear.
void expect_greedy(LoopedTransformer& model, const std::vector<int32_t>& prompt, const std::vector<int32_t>& text) {
  torch::NoGradGuard no_grad;
  auto all = prompt;
  all.insert(all.end(), text.begin(), text.end());
  auto state = model.make_state(1);
  const auto logits =
      model.step(torch::tensor(all, torch::kInt32).to(torch::kInt64).unsqueeze(0), state, true).squeeze(0);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto row = logits[static_cast<int64_t>(prompt.size() + i) - 1];
    const auto top = std::get<0>(row.topk(2));
    if ((top[0] - top[1]).item<double>() > 2e-3) {
      ASSERT_EQ(row.argmax().item<int64_t>(), text[i]) << "token " << i << " of " << text.size();
    }
  }
}

std::vector<test::ModelCase> engine_models() {
  return {{.name = "full"},
          {.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1"},
          {.name = "window", .attention_pattern = "1:0"},
          {.name = "mamba2", .layer_pattern = "mamba2"},
          {.name = "retnet", .layer_pattern = "retnet"},
          {.name = "nsa", .layer_pattern = "nsa"},
          {.name = "dsa_lightning", .layer_pattern = "dsa", .indexer = "lightning"},
          {.name = "mla", .layer_pattern = "mla"},
          {.name = "random", .attention_pattern = "random:1:1"},
          {.name = "carry", .layer_pattern = "interleaved:1:1:kda:full", .carry = "token"},
          {.name = "ouro_gdn", .layer_pattern = "interleaved:1:1:gdn:full", .loops = 3, .type = "ouro"}};
}

class EngineTest : public ::testing::TestWithParam<test::ModelCase> {
 protected:
  void SetUp() override { model = test::make_model(GetParam()); }
  bool can_speculate() const { return GetParam().carry == "none" && GetParam().name != "random"; }
  std::shared_ptr<LoopedTransformer> model;
};

TEST_P(EngineTest, ARequestGetsWhatItGetsAlone) {
  std::mt19937 random(17);
  for (int trial = 0; trial < 3; ++trial) {
    Engine engine(*model, {.slots = 1 + static_cast<int64_t>(random() % 4), .prefill_chunk = 64});
    std::vector<std::pair<Engine::Id, GenerateRequest>> requests;
    for (int i = 0; i < 7; ++i) {
      auto request = random_request(random, random() % 2 == 0);
      requests.emplace_back(engine.submit(request), request);
      for (auto passes = random() % 6; passes > 0; --passes) engine.step();
    }
    const auto cancelled = requests[random() % 7].first;
    engine.cancel(cancelled);
    engine.run();
    for (auto& [id, request] : requests) {
      ASSERT_TRUE(engine.finished(id));
      const auto result = engine.take(id);
      const auto alone = generate(*model, request);
      if (result.finish == Finish::kCancelled) {
        EXPECT_EQ(id, cancelled);
        continue;
      }
      EXPECT_EQ(result.ids(), alone.ids()) << "request " << id;
      EXPECT_EQ(result.finish, Finish::kLength);
    }
  }
}

TEST_P(EngineTest, KnownPromptsAreNotReadAgain) {
  std::mt19937 random(5);
  Engine engine(*model, {.slots = 2, .prefixes = 4});
  auto request = random_request(random, true);
  request.prompt.resize(90, 7);
  const auto first = engine.submit(request), second = engine.submit(request);
  engine.run();
  const auto a = engine.take(first), b = engine.take(second);
  EXPECT_EQ(a.ids(), b.ids());
  EXPECT_EQ(a.reused_tokens, 0);
  EXPECT_EQ(b.reused_tokens, 90);
  // A longer prompt begins with the first one's prompt and text.
  auto longer = request;
  for (const int32_t token : a.ids()) longer.prompt.push_back(token);
  longer.prompt.push_back(3);
  const auto third = engine.submit(longer);
  engine.run();
  const auto c = engine.take(third);
  EXPECT_EQ(c.reused_tokens, 90 + static_cast<int64_t>(a.tokens.size()) - 1);
  expect_greedy(*model, longer.prompt, c.ids());
}

TEST_P(EngineTest, ASessionGoesOnAfterARestart) {
  const test::TempFolder folder;
  const auto path = folder.path() / "session.safetensors";
  std::mt19937 random(6);
  auto request = random_request(random, true);
  std::vector<int32_t> text;
  {
    Engine engine(*model, {.prefixes = 1});
    const auto id = engine.submit(request);
    engine.run();
    text = request.prompt;
    for (const int32_t token : engine.take(id).ids()) text.push_back(token);
    // Also the last token, which was drawn and not read yet.
    EXPECT_EQ(engine.save(path, text), static_cast<int64_t>(text.size()));
  }
  Engine engine(*model, {.prefixes = 1});
  const auto known = engine.load(path);
  ASSERT_EQ(known, text);
  request.prompt = text;
  const auto id = engine.submit(request);
  engine.run();
  const auto result = engine.take(id);
  EXPECT_EQ(result.reused_tokens, static_cast<int64_t>(known.size()));
  expect_greedy(*model, text, result.ids());
  auto other = test::make_model(GetParam());
  {
    torch::NoGradGuard no_grad;
    other->norm->weight.mul_(1.5);
  }
  Engine another(*other, {.prefixes = 1});
  EXPECT_THROW(another.load(path), Error);
}

TEST_P(EngineTest, DraftsDoNotChangeGreedyText) {
  if (!can_speculate()) {
    EXPECT_THROW(Engine(*model, {.speculate = Speculation{}}), Error);
    return;
  }
  std::mt19937 random(23);
  for (const auto& speculation : {Speculation{.loops = 1, .tokens = 1}, Speculation{.loops = 1, .tokens = 5}}) {
    Engine engine(*model, {.slots = 3, .prefill_chunk = 64, .speculate = speculation});
    std::vector<std::pair<Engine::Id, GenerateRequest>> requests;
    for (int i = 0; i < 5; ++i) {
      auto request = random_request(random, true);
      request.max_gen_len = 30;
      requests.emplace_back(engine.submit(request), request);
      engine.step();
    }
    engine.run();
    for (auto& [id, request] : requests) {
      const auto result = engine.take(id);
      EXPECT_EQ(result.tokens.size(), 30u);
      expect_greedy(*model, request.prompt, result.ids());
    }
    EXPECT_GT(engine.counts().drafted, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EngineTest, ::testing::ValuesIn(engine_models()), test::case_name);

// A model whose first loop is right often enough for accepted drafts, and wrong often enough for rejected ones.
std::shared_ptr<LoopedTransformer> small_model() {
  const auto model = test::make_model(
      {.name = "small", .layer_pattern = "interleaved:1:1:gdn:full", .layers = 2, .dim = 16, .heads = 2});
  torch::NoGradGuard no_grad;
  model->output->weight.mul_(4);
  return model;
}

TEST(Speculation, KeepsTheDistribution) {
  const auto model = small_model();
  const auto sample = [&](bool speculate, uint64_t first_seed) {
    EngineOptions options{.slots = 64, .prefixes = 1};
    if (speculate) options.speculate = Speculation{.loops = 1, .tokens = 2};
    Engine engine(*model, options);
    std::vector<Engine::Id> ids;
    for (uint64_t seed = 0; seed < 1500; ++seed) {
      ids.push_back(engine.submit({.prompt = {5, 9, 2},
                                   .max_gen_len = 3,
                                   .sampling = {.temperature = 1, .top_p = 0.95},
                                   .seed = first_seed + seed}));
    }
    engine.run();
    if (speculate) {
      const double rate = static_cast<double>(engine.counts().accepted) / static_cast<double>(engine.counts().drafted);
      EXPECT_GT(rate, 0.1);
      EXPECT_LT(rate, 0.98);
    }
    // Of the third token, which drafts and corrections have touched: by residue, against the second's parity.
    std::vector<double> counts(16);
    for (const auto id : ids) {
      const auto text = engine.take(id).ids();
      ++counts[static_cast<size_t>(text[2] % 8 + 8 * (text[1] % 2))];
    }
    return counts;
  };
  const auto plain = sample(false, 1000000), drafted = sample(true, 2000000);
  double chi = 0;
  int bins = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double sum = plain[i] + drafted[i];
    if (sum < 20) continue;
    chi += (plain[i] - drafted[i]) * (plain[i] - drafted[i]) / sum;
    ++bins;
  }
  EXPECT_GE(bins, 8);
  EXPECT_LT(chi, 45) << bins << " bins";  // 16 degrees of freedom: one in ten thousand
}

TEST(Speculation, IsSwitchedOffWhereItDoesNotPay) {
  const auto model = test::make_model({.name = "gdn", .layer_pattern = "gdn"});
  Engine engine(*model, {.speculate = Speculation{.loops = 1, .tokens = 8}});
  const auto id = engine.submit({.prompt = {1}, .max_gen_len = 200, .sampling = {.temperature = 1.5}, .seed = 1});
  engine.run();
  EXPECT_EQ(engine.take(id).tokens.size(), 200u);
  EXPECT_EQ(engine.counts().gave_up_drafting, 1);
  EXPECT_LE(engine.counts().drafted, 16 * 8);
}

TEST(Speculation, IsRead) {
  EXPECT_EQ(parse_speculation("loops:2,k:7", "speculate").loops, 2);
  EXPECT_EQ(parse_speculation("k:7,loops:2", "speculate").tokens, 7);
  for (const char* text : {"", "loops:1", "k:2", "loops:0,k:1", "loops:1,k:x", "loops:1,k:2,k:3", "1,4"})
    EXPECT_THROW(parse_speculation(text, "speculate"), Error) << text;
}

TEST(Engine, EarlyExitsAreCounted) {
  const auto model = test::make_model({.name = "ouro", .loops = 4, .type = "ouro"});
  {
    torch::NoGradGuard no_grad;
    model->early_exit_gate->weight.mul_(8);
  }
  std::vector<int32_t> texts[2];
  for (const bool defer : {false, true}) {
    Engine engine(*model, {.exit = {.step = {}, .threshold = 0.6, .defer = defer}});
    const auto id = engine.submit({.prompt = {1, 2, 3}, .max_gen_len = 60});
    engine.run();
    const auto result = engine.take(id);
    texts[defer] = result.ids();
    std::vector<int64_t> exits(4);
    for (const auto& token : result.tokens) ++exits[static_cast<size_t>(token.exit)];
    EXPECT_EQ(exits, engine.counts().exits);
    EXPECT_LT(exits[3], 60) << "no token leaves early";
  }
  EXPECT_EQ(texts[0], texts[1]);
}

TEST(Engine, AKnownPromptKeepsItsExit) {
  const auto model = test::make_model({.name = "full", .loops = 3});
  Engine engine(*model, {.slots = 2, .prefixes = 2, .exit = {.step = 0, .threshold = {}}});
  for (int i = 0; i < 3; ++i) engine.submit({.prompt = {4, 5, 6}, .max_gen_len = 2});
  engine.run();
  EXPECT_EQ(engine.counts().exits, (std::vector<int64_t>{6, 0, 0}));
}

// A session's states are those of all loops; its last token's logits are those of the exit rule at the time of saving.
TEST(Session, GoesOnUnderAnotherExitRule) {
  const test::TempFolder folder;
  const auto path = folder.path() / "session.safetensors";
  for (const char* type : {"lt2", "ouro"}) {
    const auto model =
        test::make_model({.name = type, .layer_pattern = "interleaved:1:1:gdn:full", .loops = 3, .type = type});
    std::vector<ExitRule> rules = {{}, {.step = 0, .threshold = {}}, {.step = 1, .threshold = {}, .defer = true}};
    if (model->early_exit_gate) {
      torch::NoGradGuard no_grad;
      model->early_exit_gate->weight.mul_(8);
      rules.push_back({.step = {}, .threshold = 0.6});
    }
    const std::vector<int32_t> text = {1, 2, 3, 40, 5, 6};
    const auto first_of = [&](Engine& engine, std::vector<int32_t> prompt) {
      const auto id = engine.submit({.prompt = std::move(prompt), .max_gen_len = 1, .logprobs = 1});
      engine.run();
      return engine.take(id);
    };
    for (size_t saved = 0; saved < rules.size(); ++saved) {
      Engine writer(*model, {.prefixes = 2, .exit = rules[saved]});
      first_of(writer, text);
      writer.save(path, text);
      for (size_t now = 0; now < rules.size(); ++now) {
        Engine fresh(*model, {.exit = rules[now]}), engine(*model, {.prefixes = 2, .exit = rules[now]});
        ASSERT_EQ(engine.load(path), text);
        const auto truth = first_of(fresh, text).tokens[0];
        const auto result = first_of(engine, text);
        EXPECT_EQ(result.tokens[0].exit, truth.exit) << type << ": " << saved << ", then " << now;
        EXPECT_NEAR(result.tokens[0].likeliest[0].second, truth.likeliest[0].second, 1e-5);
        EXPECT_EQ(result.reused_tokens, saved == now ? 6 : 0);
        // With one more token, its last logits do not matter.
        Engine other(*model, {.prefixes = 2, .exit = rules[now]});
        other.load(path);
        EXPECT_EQ(first_of(other, {1, 2, 3, 40, 5, 6, 7}).reused_tokens, 6);
      }
    }
  }
}

TEST(Session, OfOtherLoopsIsRefusedByThatName) {
  const test::TempFolder folder;
  const auto path = folder.path() / "session.safetensors";
  const auto three = test::make_model({.name = "three", .loops = 3, .type = "ouro"}),
             two = test::make_model({.name = "two", .loops = 2, .type = "ouro"});
  Engine writer(*three, {.prefixes = 1}), reader(*two, {.prefixes = 1});
  writer.save(path, {1, 2, 3});
  try {
    reader.load(path);
    FAIL() << "taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("3 loops, this one runs 2"), std::string::npos) << error.what();
  }
}

TEST(Engine, RefusesWhatCannotFit) {
  const auto model = test::make_model({.name = "full"});
  const int64_t weights = Engine(*model, {}).plan().weights, scratch = Engine(*model, {}).plan().scratch;
  EXPECT_THROW(Engine(*model, {.memory = weights}), Error);
  Engine probe(*model, {});
  Engine engine(*model, {.slots = 4, .memory = weights + scratch + 2 * probe.request_bytes(10, 100)});
  try {
    engine.submit({.prompt = std::vector<int32_t>(10, 1), .max_gen_len = 10000});
    FAIL() << "taken";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("does not fit"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("10000"), std::string::npos) << e.what();
  }
  // Three requests, of which two fit at a time, all finish.
  std::vector<Engine::Id> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(engine.submit({.prompt = std::vector<int32_t>(10, 1), .max_gen_len = 100}));
  engine.run();
  for (const auto id : ids) EXPECT_EQ(engine.take(id).tokens.size(), 100u);
}

TEST(Engine, StatesStayWithinThePlan) {
  for (const auto& c : test::all_layouts()) {
    const auto model = test::make_model(c);
    Engine engine(*model, {});
    const auto id = engine.submit({.prompt = std::vector<int32_t>(150, 3), .max_gen_len = 20});
    const auto planned = engine.request_bytes(150, 20);
    engine.run();
    EXPECT_LE(engine.take(id).state_bytes, planned) << c.name;
  }
}

TEST(Engine, LogProbabilitiesAreTheModels) {
  const auto model = test::make_model({.name = "full"});
  Engine engine(*model, {});
  const auto id =
      engine.submit({.prompt = {4, 5}, .max_gen_len = 5, .sampling = {.temperature = 2}, .seed = 3, .logprobs = 3});
  engine.run();
  const auto result = engine.take(id);
  std::vector<int32_t> all{4, 5};
  for (const auto& token : result.tokens) {
    torch::NoGradGuard no_grad;
    const auto logits = model->logits(model->hidden(torch::tensor(all, torch::kInt32).to(torch::kInt64).unsqueeze(0)));
    const auto expected = torch::log_softmax(logits[0][static_cast<int64_t>(all.size()) - 1].to(torch::kFloat64), 0);
    EXPECT_NEAR(token.log_probability, expected[token.id].item<double>(), 1e-4);
    ASSERT_EQ(token.likeliest.size(), 3u);
    EXPECT_NEAR(token.likeliest[0].second, expected.max().item<double>(), 1e-4);
    EXPECT_GE(token.likeliest[1].second, token.likeliest[2].second);
    all.push_back(token.id);
  }
}

// A text's own log probabilities, as the whole model's logits give them, whatever else is in the passes.
class Scoring : public ::testing::TestWithParam<test::ModelCase> {
 protected:
  static std::vector<int32_t> text(size_t tokens, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<int32_t> out(tokens);
    for (auto& token : out) token = static_cast<int32_t>(random() % 61);
    return out;
  }
  static GenerateRequest asks(const std::vector<int32_t>& prompt, int64_t from, int64_t more = 0) {
    return {.prompt = prompt, .max_gen_len = more, .logprobs = 2, .score_from = from};
  }
  static void expect_same(const std::vector<ScoredToken>& a, const std::vector<ScoredToken>& b, size_t skip = 0) {
    ASSERT_EQ(a.size(), b.size() - skip);
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].id, b[i + skip].id);
      EXPECT_EQ(a[i].log_probability, b[i + skip].log_probability) << i;
      EXPECT_EQ(a[i].greedy, b[i + skip].greedy);
      EXPECT_EQ(a[i].likeliest, b[i + skip].likeliest);
      EXPECT_EQ(a[i].exit, b[i + skip].exit);
    }
  }
};

TEST_P(Scoring, IsTheWholeModelsWhateverElseRuns) {
  const auto model = test::make_model(GetParam());
  for (const size_t length : {2, 3, 65, 300, 2100}) {
    const auto prompt = text(length, static_cast<uint32_t>(length));
    Engine alone(*model, {.scores = true});
    const auto id = alone.submit(asks(prompt, 1));
    alone.run();
    const auto all = alone.take(id);
    ASSERT_EQ(all.scored.size(), length - 1);
    EXPECT_TRUE(all.tokens.empty());
    {
      torch::NoGradGuard no_grad;
      auto state = model->make_state(1);
      std::vector<torch::Tensor> parts;  // split where the engine splits
      const auto tokens = torch::tensor(prompt, torch::kInt32).to(torch::kInt64).unsqueeze(0);
      for (int64_t at = 0; at < tokens.size(1); at += kPrefillChunk)
        parts.push_back(model->step(tokens.narrow(1, at, std::min(kPrefillChunk, tokens.size(1) - at)), state, true));
      const auto expected = torch::log_softmax(torch::cat(parts, 1).squeeze(0).to(torch::kFloat64), -1);
      for (size_t i = 0; i + 1 < length; ++i) {
        const auto row = expected[static_cast<int64_t>(i)];
        EXPECT_NEAR(all.scored[i].log_probability, row[prompt[i + 1]].item<double>(), 1e-6);
        EXPECT_EQ(all.scored[i].greedy, row.argmax().item<int64_t>() == prompt[i + 1]);
        EXPECT_EQ(all.scored[i].likeliest[0].first, row.argmax().item<int64_t>());
      }
    }
    if (length > 300) continue;
    // Together with other requests that read and decode, from other positions, with known prefixes, with text that
    // follows.
    Engine busy(*model, {.slots = 4, .prefixes = 4, .prefill_chunk = 64, .scores = true});
    std::vector<Engine::Id> ids;
    busy.submit({.prompt = text(100, 7), .max_gen_len = 30});
    for (const size_t from : {size_t{1}, length / 2 + 1, length - 1})
      ids.push_back(busy.submit(asks(prompt, static_cast<int64_t>(from), from == 1 ? 5 : 0)));
    ids.push_back(busy.submit(asks(prompt, static_cast<int64_t>(length))));
    busy.run();
    expect_same(busy.take(ids[0]).scored, all.scored);
    expect_same(busy.take(ids[1]).scored, all.scored, length / 2);
    expect_same(busy.take(ids[2]).scored, all.scored, length - 2);
    EXPECT_TRUE(busy.take(ids[3]).scored.empty());
    // A prefix that ends just before the first scored token.
    const std::vector<int32_t> begin(prompt.begin(), prompt.end() - 1);
    const auto first = busy.submit({.prompt = begin, .max_gen_len = 1});
    busy.run();
    busy.take(first);
    const auto again = busy.submit(asks(prompt, static_cast<int64_t>(length) - 1));
    busy.run();
    const auto known = busy.take(again);
    EXPECT_EQ(known.reused_tokens, static_cast<int64_t>(length) - 1);
    expect_same(known.scored, all.scored, length - 2);
  }
}

// If no sequence decodes, a pass takes as many prompts as fit into a prefill chunk; each result is the same as alone.
TEST_P(Scoring, ShortTextsShareAPass) {
  const auto model = test::make_model(GetParam());
  Engine alone(*model, {.scores = true}), together(*model, {.slots = 6, .scores = true});
  std::vector<std::pair<Engine::Id, std::vector<ScoredToken>>> wanted;
  for (const size_t length : {2, 63, 64, 65, 1900, 130}) {
    const auto request = asks(text(length, static_cast<uint32_t>(length)), 1);
    const auto id = alone.submit(request);
    alone.run();
    wanted.emplace_back(together.submit(request), alone.take(id).scored);
  }
  together.run();
  for (const auto& [id, scored] : wanted) expect_same(together.take(id).scored, scored);
  EXPECT_EQ(together.counts().passes, 2);  // 2224 tokens, 2048 a pass
}

// The hook gets the rows that scores come from, in the order of the tokens, a few at a time.
TEST_P(Scoring, TheLogitsThemselvesCanBeHad) {
  const auto model = test::make_model(GetParam());
  const auto prompt = text(600, 5);
  Engine engine(*model, {.prefixes = 2, .scores = true});
  engine.submit({.prompt = {prompt.begin(), prompt.begin() + 300}, .max_gen_len = 1});
  engine.run();
  for (const int64_t from : {int64_t{1}, int64_t{300}, int64_t{301}, int64_t{599}}) {  // 300: a known prefix scores it
    std::vector<torch::Tensor> rows;
    auto request = asks(prompt, from);
    request.on_score_logits = [&](const torch::Tensor& logits) {
      EXPECT_LE(logits.size(0), kLogitRows);
      rows.push_back(torch::log_softmax(logits.to(torch::kFloat64), -1));
    };
    const auto id = engine.submit(request);
    engine.run();
    const auto scored = engine.take(id).scored;
    const auto all = torch::cat(rows);
    ASSERT_EQ(all.size(0), static_cast<int64_t>(scored.size()));
    for (size_t i = 0; i < scored.size(); ++i)
      EXPECT_NEAR(all[static_cast<int64_t>(i)][scored[i].id].item<double>(), scored[i].log_probability, 1e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Scoring, ::testing::ValuesIn(engine_models()), test::case_name);

TEST(Scores, ComeFromTheLoopsWhereTokensLeave) {
  const auto model = test::make_model({.name = "exits", .layer_pattern = "interleaved:1:1:gdn:full", .loops = 3});
  for (const bool defer : {false, true}) {
    Engine engine(*model, {.exit = {.step = 1, .threshold = {}, .defer = defer}, .scores = true});
    const std::vector<int32_t> prompt{1, 5, 9, 60, 3, 3, 7};
    const auto id = engine.submit({.prompt = prompt, .max_gen_len = 0, .score_from = 1});
    engine.run();
    const auto scored = engine.take(id).scored;
    ASSERT_EQ(scored.size(), prompt.size() - 1);
    auto state = model->make_state(1);
    const auto logits = model
                            ->advance({{.state = &state,
                                        .tokens = torch::tensor(prompt, torch::kInt32).to(torch::kInt64),
                                        .all_positions = true}},
                                      {.step = 1, .threshold = {}})[0]
                            .logits.contiguous();
    for (size_t i = 0; i < scored.size(); ++i) {
      EXPECT_EQ(scored[i].exit, 1);
      const auto row = logits[static_cast<int64_t>(i)].contiguous();
      EXPECT_NEAR(scored[i].log_probability,
                  torch::log_softmax(row.to(torch::kFloat64), -1)[prompt[i + 1]].item<double>(), 1e-6);
    }
  }
}

TEST(Scores, OfADamagedModelAreAnError) {
  const auto model = test::make_model({.name = "full"});
  {
    torch::NoGradGuard no_grad;
    model->norm->weight.fill_(NAN);
  }
  Engine engine(*model, {.scores = true});
  engine.submit({.prompt = {1, 2, 3}, .max_gen_len = 0, .score_from = 1});
  EXPECT_THROW(engine.run(), Error);
}

TEST(Scores, AreRefusedWhereTheyMakeNoSense) {
  const auto model = test::make_model({.name = "full"});
  Engine without(*model, {});
  EXPECT_THROW(without.submit({.prompt = {1, 2}, .score_from = 1}), Error);
  EXPECT_THROW(without.submit({.prompt = {1, 2}, .max_gen_len = 0}), Error);
  Engine engine(*model, {.scores = true});
  for (const int64_t from : {0, -1, 3}) EXPECT_THROW(engine.submit({.prompt = {1, 2}, .score_from = from}), Error);
}

}  // namespace
}  // namespace lt2
