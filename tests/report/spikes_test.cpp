#include "report/spikes.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lt2 {
namespace {

std::map<double, TrainPoint> curve(const std::vector<double>& losses) {
  std::map<double, TrainPoint> train;
  for (size_t i = 0; i < losses.size(); ++i) train[static_cast<double>(i + 1)].loss = losses[i];
  return train;
}

/// Losses around 2 whose median is 2 and whose median absolute deviation is 0.01.
std::vector<double> quiet(size_t count) {
  std::vector<double> out;
  for (size_t i = 0; i < count; ++i) out.push_back(i % 2 ? 2.01 : 1.99);
  return out;
}

std::map<double, TrainPoint> after_quiet(size_t count, std::vector<double> more) {
  auto losses = quiet(count);
  losses.insert(losses.end(), more.begin(), more.end());
  return curve(losses);
}

TEST(LossSpikes, MoreThanFourDeviationsAndTwoPercent) {
  EXPECT_TRUE(find_loss_spikes(after_quiet(20, {2.0399})).empty());  // 4 deviations, 2 %: not more
  const auto spikes = find_loss_spikes(after_quiet(20, {2.0401}));
  ASSERT_EQ(spikes.size(), 1u);
  EXPECT_EQ(spikes[0].step, 21);
  EXPECT_EQ(spikes[0].loss, 2.0401);
  EXPECT_DOUBLE_EQ(spikes[0].before, 2);
  // Far above a flat curve, but by less than 2 %; and 2 % of noise.
  std::vector<double> flat(20, 2.0);
  flat.push_back(2.03);
  EXPECT_TRUE(find_loss_spikes(curve(flat)).empty());
  std::vector<double> noisy;
  for (int i = 0; i < 20; ++i) noisy.push_back(i % 2 ? 3 : 1);
  noisy.push_back(5.9);
  EXPECT_TRUE(find_loss_spikes(curve(noisy)).empty());
}

TEST(LossSpikes, NeedTwentyFiniteLossesBefore) {
  EXPECT_TRUE(find_loss_spikes(after_quiet(19, {9})).empty());
  auto train = after_quiet(20, {9});
  train[10].loss = NAN;
  EXPECT_TRUE(find_loss_spikes(train).empty());
  train[10.5].loss = 1.99;
  EXPECT_EQ(find_loss_spikes(train).size(), 1u);
  EXPECT_TRUE(find_loss_spikes({}).empty());
}

TEST(LossSpikes, LinesInARowAreOne) {
  const auto spikes = find_loss_spikes(after_quiet(20, {3, 5, 4, 2, 2, 6}));
  ASSERT_EQ(spikes.size(), 2u);
  EXPECT_EQ(spikes[0].step, 22);
  EXPECT_EQ(spikes[0].loss, 5);
  EXPECT_EQ(spikes[1].loss, 6);
}

TEST(LossSpikes, AFallingCurveHasNone) {
  std::vector<double> losses;
  for (int i = 0; i < 500; ++i) losses.push_back(1.5 + 8 * std::exp(-i / 60.0));
  EXPECT_TRUE(find_loss_spikes(curve(losses)).empty());
  losses.insert(losses.end(), {INFINITY, 1e308, -1e308});
  EXPECT_EQ(find_loss_spikes(curve(losses)).size(), 1u);
}

}  // namespace
}  // namespace lt2
