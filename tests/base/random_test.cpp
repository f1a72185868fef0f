// The generators against values printed by numpy and CPython.
#include "base/random.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace lt2 {
namespace {

std::vector<int> counted(int n) {
  std::vector<int> items(n);
  std::iota(items.begin(), items.end(), 0);
  return items;
}

TEST(Pcg64, SeedsAndDrawsAsNumpy) {
  Pcg64 generator({42, 0, 1});
  EXPECT_EQ(to_decimal(generator.state().state), "65591952954834592357220600170622761561");
  EXPECT_EQ(to_decimal(generator.state().inc), "111500568425583190928121790447584964095");
  for (const double expected : {0.8660801701865349, 0.8816940218249084, 0.4599589547382158, 0.911282730603411})
    EXPECT_EQ(generator.uniform(), expected);
}

TEST(Pcg64, ChoosesWithWeightsAsNumpy) {
  Pcg64 generator({42, 0, 1});
  for (const int expected : {1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1})
    EXPECT_EQ(generator.uniform() < 2.0 / 3 ? 0 : 1, expected);
}

TEST(Pcg64, ShufflesAsNumpy) {
  Pcg64 generator({43, 0, 1});
  auto items = counted(6);
  generator.shuffle(items);
  EXPECT_EQ(items, (std::vector<int>{5, 0, 3, 1, 2, 4}));
  EXPECT_TRUE(generator.state().has_uint32);
  EXPECT_EQ(generator.state().uinteger, 3771227112u);
  EXPECT_EQ(to_decimal(generator.state().state), "279786467907380238369214928666763236190");

  Pcg64 fresh({43, 0, 1});
  items = counted(12);
  fresh.shuffle(items);
  EXPECT_EQ(items, (std::vector<int>{3, 6, 2, 7, 11, 9, 4, 1, 8, 0, 5, 10}));
}

TEST(Pcg64, ContinuesFromASavedState) {
  Pcg64 first({7, 3}), second({1});
  first.next32();
  second.set_state(first.state());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(first.next32(), second.next32());
  EXPECT_EQ(first.next64(), second.next64());
  EXPECT_EQ(first.state(), second.state());
}

// 2^32 takes two words, and more than four words go through the pool one after the other.
TEST(Pcg64, EverySeedWordCounts) {
  const auto first = [](std::initializer_list<uint64_t> seed) { return Pcg64(seed).next64(); };
  EXPECT_EQ(first({uint64_t{1} << 32, 5}), first({0, 1, 5}));
  EXPECT_NE(first({1, 2, 3, 4, 5}), first({1, 2, 3, 4, 6}));
  EXPECT_NE(first({1, 2, 3, 4}), first({1, 2, 3, 4, 0}));
}

TEST(Pcg64, BoundedStaysInRange) {
  Pcg64 generator({1, 2});
  const auto before = generator.state();
  EXPECT_EQ(generator.bounded(0), 0u);
  EXPECT_EQ(generator.state(), before);
  std::vector<int> seen(7);
  for (int i = 0; i < 200; ++i) ++seen.at(generator.bounded(6));
  for (const int count : seen) EXPECT_GT(count, 10);
  bool large = false;
  for (int i = 0; i < 20; ++i) {
    const uint64_t value = generator.bounded(uint64_t{1} << 40);
    EXPECT_LE(value, uint64_t{1} << 40);
    large = large || value > 0xffffffff;
  }
  EXPECT_TRUE(large);
}

TEST(Decimal128, RoundTripsAndRefuses) {
  for (const char* text : {"0", "9", "10", "18446744073709551616", "340282366920938463463374607431768211455"})
    EXPECT_EQ(to_decimal(uint128_from_decimal(text)), text);
  for (const char* text : {"", "-1", "1.5", "1e3", " 1", "12a", "340282366920938463463374607431768211456",
                           "3402823669209384634633746074317682114550"})
    EXPECT_THROW(uint128_from_decimal(text), Error) << text;
}

TEST(PythonRandom, DrawsAsPython) {
  PythonRandom seven(7);
  for (const uint32_t expected : {1390851128u, 4071050724u, 647892279u}) EXPECT_EQ(seven.next32(), expected);
  PythonRandom zero(0);
  for (int i = 0; i < 999; ++i) zero.next32();
  EXPECT_EQ(zero.next32(), 2971151651u);  // the thousandth: past the first 624 words
  EXPECT_EQ(PythonRandom(~uint64_t{0}).next32(), 93740670u);
}

struct Shuffle {
  uint64_t seed;
  std::vector<int> expected;
};
std::ostream& operator<<(std::ostream& stream, const Shuffle& c) { return stream << "seed " << c.seed; }
class PythonShuffle : public ::testing::TestWithParam<Shuffle> {};

TEST_P(PythonShuffle, MatchesPython) {
  auto items = counted(static_cast<int>(GetParam().expected.size()));
  PythonRandom(GetParam().seed).shuffle(items);
  EXPECT_EQ(items, GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Seeds, PythonShuffle,
    ::testing::Values(Shuffle{42, {7, 3, 2, 8, 5, 6, 9, 4, 0, 1}}, Shuffle{43, {8, 1, 5, 6, 9, 7, 3, 2, 4, 0}},
                      Shuffle{0, {2, 1, 0, 4, 3}},
                      Shuffle{12345, {63, 19, 83, 87, 88, 28, 8,  76, 46, 59, 39, 90, 29, 60, 84, 30, 12, 25, 54, 17,
                                      62, 35, 27, 56, 81, 5,  97, 4,  98, 40, 50, 16, 79, 13, 31, 7,  48, 2,  73, 96,
                                      86, 14, 69, 51, 36, 75, 99, 65, 77, 6,  92, 82, 37, 49, 10, 42, 57, 0,  85, 89,
                                      44, 32, 61, 66, 68, 58, 3,  41, 43, 94, 9,  26, 18, 21, 64, 74, 52, 67, 11, 45,
                                      23, 70, 78, 22, 80, 71, 33, 91, 15, 95, 20, 55, 72, 34, 24, 47, 38, 1,  93, 53}},
                      // Two words of key.
                      Shuffle{8589934593, {0, 16, 7, 14, 5, 9, 19, 1, 6, 17, 10, 2, 15, 11, 4, 12, 13, 8, 3, 18}},
                      Shuffle{1, {}}, Shuffle{1, {0}}));

}  // namespace
}  // namespace lt2
