#include "base/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace lt2 {
namespace {

TEST(Statistics, MedianAndQuartiles) {
  const auto odd = spread_of({5, 1, 3, 2, 4});
  EXPECT_DOUBLE_EQ(odd.median, 3);
  EXPECT_DOUBLE_EQ(odd.low, 2);
  EXPECT_DOUBLE_EQ(odd.high, 4);
  EXPECT_EQ(odd.count, 5u);
  const auto even = spread_of({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(even.median, 2.5);
  EXPECT_DOUBLE_EQ(even.low, 1.75);
  EXPECT_DOUBLE_EQ(even.high, 3.25);
  const auto one = spread_of({7});
  EXPECT_DOUBLE_EQ(one.median, 7);
  EXPECT_DOUBLE_EQ(one.low, 7);
}

TEST(Statistics, NoisyIsFewFarApartOrNotANumber) {
  EXPECT_TRUE(spread_of({}).noisy());
  EXPECT_TRUE(std::isnan(spread_of({}).median));
  EXPECT_TRUE(spread_of({1, 1}).noisy()) << "two samples";
  EXPECT_FALSE(spread_of({1, 1, 1}).noisy());
  EXPECT_FALSE(spread_of({1, 1.04, 1.08, 1.02, 1.06}).noisy());
  EXPECT_TRUE(spread_of({1, 1.2, 1.4, 1.1, 1.3}).noisy());
  EXPECT_FALSE(spread_of({1, 1, 1, 1, 50}).noisy()) << "one disturbed sample of five";
  EXPECT_TRUE(spread_of({1, NAN, 1, 1}).noisy());
  EXPECT_TRUE(spread_of({0, 0, 0}).noisy());
}

TEST(Statistics, ARatioIsTheMedianOfThePairs) {
  // The machine slows down by half in the middle: both halves of those pairs meet it.
  const std::vector<double> a{2, 2, 4, 4, 4, 2}, b{1, 1, 2, 2, 2, 1};
  EXPECT_DOUBLE_EQ(paired_ratio(a, b).median, 2);
  EXPECT_FALSE(paired_ratio(a, b).noisy());
  // A hiccup in one half of a pair.
  EXPECT_DOUBLE_EQ(paired_ratio({2, 2, 30, 2, 2}, {1, 1, 1, 1, 1}).median, 2);
  EXPECT_THROW(paired_ratio({1}, {}), Error);
}

// Runs that take what a list says; the last number again and again.
TimedRun scripted(std::vector<double> seconds, std::string* order = nullptr, char name = '?') {
  return [seconds = std::move(seconds), order, name, next = size_t{0}]() mutable {
    if (order) *order += name;
    return seconds[std::min(next++, seconds.size() - 1)];
  };
}

TEST(Turns, OneAfterTheOtherUntilHalfTheBudgetIsSpent) {
  std::string order;
  const auto samples =
      run_in_turns({scripted({1}, &order, 'A'), scripted({2}, &order, 'B')}, {.seconds = 24, .least = 2});
  EXPECT_EQ(order, "ABABABAB");  // 3 a round
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0], std::vector<double>(4, 1));
  EXPECT_EQ(samples[1], std::vector<double>(4, 2));
}

TEST(Turns, AtLeastAndAtMostSoManyRounds) {
  EXPECT_EQ(run_in_turns({scripted({100})}, {.seconds = 1, .least = 5})[0].size(), 5u);
  EXPECT_EQ(run_in_turns({scripted({0.001})}, {.seconds = 1, .least = 5, .most = 7})[0].size(), 7u);
  EXPECT_TRUE(run_in_turns({}, {}).empty());
}

TEST(Turns, NoiseIsMeasuredAgainWithinItsBudget) {
  // Disturbed every other time at first, quiet then: it goes on until the middle half is quiet.
  const auto samples = run_in_turns({scripted({5, 1, 5, 1, 5, 1})}, {.seconds = 30, .least = 3});
  EXPECT_FALSE(spread_of(samples[0]).noisy());
  EXPECT_DOUBLE_EQ(spread_of(samples[0]).median, 1);
  EXPECT_EQ(samples[0].size(), 13u);  // 3 of 13 are disturbed, 3 of 12 touch the quartile
  // Noisy to the end of the budget, and known to be.
  bool odd = false;
  const auto never = run_in_turns({[&] { return (odd = !odd) ? 1.0 : 2.0; }}, {.seconds = 15, .least = 3});
  EXPECT_TRUE(spread_of(never[0]).noisy());
  EXPECT_EQ(never[0].size(), 10u);  // 15 seconds
}

TEST(Turns, ANoisyRatioOfQuietHalvesGoesOn) {
  // A quarter of each half's samples is disturbed, of their pairs a half.
  const auto samples = run_in_turns({scripted({1.3, 1.3, 1}), scripted({1, 1, 1.3, 1.3, 1})}, {.seconds = 34});
  const auto first_eight = [](std::vector<double> of_one) { return of_one.resize(8), of_one; };
  const auto a = first_eight(samples[0]), b = first_eight(samples[1]);
  EXPECT_FALSE(spread_of(a).noisy() || spread_of(b).noisy());
  EXPECT_TRUE(paired_ratio(a, b).noisy());
  EXPECT_EQ(samples[0].size(), 9u);
}

}  // namespace
}  // namespace lt2
