#include "infer/generate.h"

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

TEST(Generate, GreedyFollowsTheFullForwardPass) {
  const auto model =
      test::make_model({.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1"});
  GenerateRequest request{.prompt = {1, 2, 3, 4, 5}, .max_gen_len = 20, .stop_tokens = {}, .sampling = {}, .seed = 0};
  const auto result = generate(*model, request);
  ASSERT_EQ(result.tokens.size(), 20u);
  torch::NoGradGuard no_grad;
  auto sequence = request.prompt;
  int decided = 0;
  for (const int32_t token : result.ids()) {
    const auto logits = model->logits(model->hidden(torch::tensor(sequence, torch::kInt64).unsqueeze(0)))
                            .select(1, static_cast<int64_t>(sequence.size()) - 1);
    const auto top = std::get<0>(logits.topk(2));
    if ((top[0][0] - top[0][1]).item<double>() > 2e-3) {
      EXPECT_EQ(logits.argmax(-1).item<int64_t>(), token);
      ++decided;
    }
    sequence.push_back(token);
  }
  EXPECT_GT(decided, 15);
}

TEST(Generate, StopsWhereItShould) {
  const auto model = test::make_model({.name = "gdn", .layer_pattern = "gdn"});
  GenerateRequest request{.prompt = {7},
                          .max_gen_len = 9,
                          .stop_tokens = {},
                          .sampling = {.temperature = 1, .top_p = {}, .top_k = {}},
                          .seed = 4};
  const auto all = generate(*model, request).ids();
  EXPECT_EQ(all.size(), 9u);
  EXPECT_EQ(generate(*model, request).ids(), all);  // same seed, same text
  request.stop_tokens = {all[3]};
  const auto first = static_cast<size_t>(std::find(all.begin(), all.end(), all[3]) - all.begin());
  EXPECT_EQ(generate(*model, request).tokens.size(), first + 1);
  int calls = 0;
  request.stop_tokens = {};
  request.on_token = [&](const GeneratedToken&) { return ++calls < 2; };
  EXPECT_EQ(generate(*model, request).tokens.size(), 2u);
}

TEST(Generate, RefusesTokensOutsideTheVocabulary) {
  const auto model = test::make_model({.name = "full"});
  EXPECT_THROW(generate(*model, {.prompt = {61}, .max_gen_len = 1, .stop_tokens = {}, .sampling = {}, .seed = 0}),
               Error);
  EXPECT_THROW(generate(*model, {.prompt = {}, .max_gen_len = 1, .stop_tokens = {}, .sampling = {}, .seed = 0}), Error);
}

TEST(Generate, PrefillInPiecesIsExact) {
  const auto model =
      test::make_model({.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1"});
  torch::NoGradGuard no_grad;
  torch::manual_seed(8);
  const auto tokens = torch::randint(61, {1, kPrefillChunk + 100}, torch::kInt64);
  auto whole = model->make_state(1), pieces = model->make_state(1);
  EXPECT_TRUE(test::identical(prefill(*model, tokens, pieces), model->step(tokens, whole).select(1, 0)));
}

}  // namespace
}  // namespace lt2
