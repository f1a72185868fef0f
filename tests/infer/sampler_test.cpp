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

TEST(Sampler, RefusesNonsense) {
  EXPECT_THROW(validate({.temperature = -1}), Error);
  EXPECT_THROW(validate({.temperature = 1, .top_p = 0.0}), Error);
  EXPECT_THROW(validate({.temperature = 1, .top_k = 0}), Error);
}

}  // namespace
}  // namespace lt2
