#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"

namespace lt2 {
namespace {

std::map<int32_t, int> draw(const SamplingOptions& options, const std::vector<float>& logits, int count) {
  Sampler sampler(options, 3);
  std::map<int32_t, int> counts;
  for (int i = 0; i < count; ++i) ++counts[sampler.next(logits.data(), static_cast<int64_t>(logits.size()))];
  return counts;
}

const std::vector<float> kLogits{std::log(0.5F), std::log(0.3F), std::log(0.15F), std::log(0.05F)};

TEST(Sampler, GreedyTakesTheSmallerTokenOnTies) {
  EXPECT_EQ(draw({}, {1, 3, 3, 2}, 5), (std::map<int32_t, int>{{1, 5}}));
}

TEST(Sampler, FollowsTheDistribution) {
  auto counts = draw({.temperature = 1}, kLogits, 20000);
  EXPECT_NEAR(counts[0] / 20000.0, 0.5, 0.015);
  EXPECT_NEAR(counts[3] / 20000.0, 0.05, 0.01);
  counts = draw({.temperature = 0.5}, kLogits, 20000);  // probabilities squared
  EXPECT_NEAR(counts[0] / 20000.0, 0.25 / 0.365, 0.015);
}

TEST(Sampler, TopKKeepsTies) {
  EXPECT_EQ(draw({.temperature = 1, .top_k = 2}, kLogits, 500).size(), 2u);
  EXPECT_EQ(draw({.temperature = 1, .top_k = 1}, {2, 2, 0}, 500).size(), 2u);
  EXPECT_EQ(draw({.temperature = 1, .top_k = 99}, kLogits, 2000).size(), 4u);
}

TEST(Sampler, TopPKeepsTheTokenThatCrosses) {
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.4}, kLogits, 500).size(), 1u);
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.6}, kLogits, 500).size(), 2u);
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.6, .top_k = 1}, kLogits, 500).size(), 2u);  // top_p wins
}

TEST(Sampler, SameSeedSameTokens) {
  EXPECT_EQ(draw({.temperature = 1}, kLogits, 100), draw({.temperature = 1}, kLogits, 100));
}

TEST(Sampler, MinPDropsWhatIsFarBehind) {
  const auto counts = draw({.temperature = 1, .min_p = 0.35}, kLogits, 2000);  // 0.5, 0.3; 0.15 < 0.35 * 0.5
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_EQ(draw({.temperature = 1, .min_p = 1.0}, kLogits, 50), (std::map<int32_t, int>{{0, 50}}));
}

TEST(Sampler, PenaltiesFollowTheText) {
  const std::vector<float> logits{2.0F, 1.9F, -1.0F, -1.1F};
  Sampler repetition({.repetition_penalty = 1.2}, 0);
  repetition.read({0});  // 2.0 / 1.2 < 1.9
  EXPECT_EQ(repetition.next(logits.data(), 4), 1);
  EXPECT_EQ(repetition.next(logits.data(), 4), 0);  // both divided now
  Sampler presence({.presence_penalty = 0.5}, 0);
  presence.read({0});  // of the text, not the prompt
  EXPECT_EQ(presence.next(logits.data(), 4), 0);
  EXPECT_EQ(presence.next(logits.data(), 4), 1);
  EXPECT_EQ(presence.next(logits.data(), 4), 0);
  presence.write(2);
  presence.unwrite(2);
  EXPECT_EQ(presence.candidates(logits.data(), 4).tokens, std::vector<int32_t>{0});
}

TEST(Sampler, BiasMovesTokens) {
  EXPECT_EQ(draw({.logit_bias = {{3, 10.0}}}, kLogits, 3), (std::map<int32_t, int>{{3, 3}}));
  EXPECT_EQ(draw({.temperature = 1, .logit_bias = {{0, -INFINITY}}}, kLogits, 500).count(0), 0u);
}

TEST(Sampler, LogProbabilitiesSumToOne) {
  double sum = 0;
  for (const auto& [token, value] : top_log_probabilities(kLogits.data(), 4, 9)) {
    EXPECT_DOUBLE_EQ(value, log_probability(kLogits.data(), 4, token));
    sum += std::exp(value);
  }
  EXPECT_NEAR(sum, 1, 1e-12);
  EXPECT_EQ(top_log_probabilities(kLogits.data(), 4, 1)[0].first, 0);
}

TEST(Sampler, RefusesNonsense) {
  EXPECT_THROW(validate({.temperature = -1}, 4), Error);
  EXPECT_THROW(validate({.temperature = 1, .top_p = 0.0}, 4), Error);
  EXPECT_THROW(validate({.temperature = 1, .top_k = 0}, 4), Error);
  EXPECT_THROW(validate({.min_p = 1.5}, 4), Error);
  EXPECT_THROW(validate({.repetition_penalty = 0}, 4), Error);
  EXPECT_THROW(validate({.logit_bias = {{4, 1.0}}}, 4), Error);
  EXPECT_THROW(validate({.logit_bias = {{3, std::nan("")}}}, 4), Error);
  const std::vector<float> broken{1.0F, NAN};
  EXPECT_THROW(Sampler({}, 0).next(broken.data(), 2), Error);
}

}  // namespace
}  // namespace lt2
