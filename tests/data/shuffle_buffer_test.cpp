// Rounds of shuffled rows, made without the loader around them.
#include "data/shuffle_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

class ShuffleBufferTest : public ::testing::Test {
 protected:
  // Documents of eight tokens, BOS and their number, and one row each: 2 rows a batch, 3 batches a round.
  void SetUp() override {
    std::ofstream file(root_ / "numbers.jsonl");
    for (int i = 0; i < 60; ++i) file << fmt::format("{{\"text\": \"{:07}\"}}\n", i);
    config_.root_dir = root_.string();
    config_.sources = {{"numbers.jsonl", 1}};
    config_.batch_size = 2;
    config_.seq_len = 8;
    config_.n_views = 1;
    config_.prefetch_size = 3;
    config_.add_eos = false;
  }
  // The numbers of the rows of the next `batches`.
  static std::vector<int> numbers(ShuffleBuffer& buffer, int batches) {
    std::vector<int> out;
    for (int b = 0; b < batches; ++b) {
      const auto made = buffer.make();
      EXPECT_EQ(made.batch.tokens.size(), 16u);
      for (size_t row = 0; row < 2; ++row) {
        int number = 0;
        for (size_t i = 1; i < 8; ++i) number = number * 10 + (made.batch.tokens[row * 8 + i] - '0');
        out.push_back(number);
      }
    }
    return out;
  }
  test::TempFolder temporary_;
  std::filesystem::path root_ = temporary_.path();
  DataConfig config_;
  std::shared_ptr<const Tokenizer> tokenizer_ = make_tokenizer("bytes", {});
};

TEST_F(ShuffleBufferTest, ARoundIsTheNextRowsInAnotherOrder) {
  ShuffleBuffer buffer(config_, 0, 1, 0, tokenizer_);
  buffer.start(42);
  int shuffled = 0;
  for (int round = 0; round < 10; ++round) {
    auto rows = numbers(buffer, 3);
    shuffled += !std::is_sorted(rows.begin(), rows.end());
    std::sort(rows.begin(), rows.end());
    std::vector<int> expected;
    for (int i = 0; i < 6; ++i) expected.push_back(6 * round + i);
    EXPECT_EQ(rows, expected) << "round " << round;
  }
  EXPECT_GE(shuffled, 8);
}

TEST_F(ShuffleBufferTest, TheSeedAndTheRankDecideTheOrder) {
  ShuffleBuffer buffer(config_, 0, 1, 0, tokenizer_);
  buffer.start(42);
  const auto first = numbers(buffer, 9);
  buffer.start(43);
  EXPECT_NE(numbers(buffer, 9), first);
  buffer.start(42);
  EXPECT_EQ(numbers(buffer, 9), first);
  // Two ranks share the rows out.
  ShuffleBuffer zero(config_, 0, 2, 0, tokenizer_), one(config_, 1, 2, 0, tokenizer_);
  zero.start(42);
  one.start(42);
  for (const int number : numbers(zero, 9)) EXPECT_EQ(number % 2, 0);
  for (const int number : numbers(one, 9)) EXPECT_EQ(number % 2, 1);
}

// Every batch of two rounds, the last of a round included.
TEST_F(ShuffleBufferTest, APositionGivesTheRestAgain) {
  ShuffleBuffer buffer(config_, 0, 1, 0, tokenizer_);
  auto position = buffer.start(42);
  std::vector<LoaderState> states{buffer.saved(position)};
  std::vector<std::vector<int32_t>> batches;
  for (int b = 0; b < 9; ++b) {
    auto made = buffer.make();
    batches.push_back(made.batch.tokens);
    states.push_back(buffer.saved(made.after));
  }
  for (size_t at = 0; at < 7; ++at) {
    ShuffleBuffer again(config_, 0, 1, 0, tokenizer_);
    std::vector<std::string> reasons;
    ASSERT_TRUE(again.start(states[at], reasons)) << (reasons.empty() ? "" : reasons[0]);
    for (size_t b = at; b < at + 2; ++b) EXPECT_EQ(again.make().batch.tokens, batches[b]) << at << " " << b;
  }
}

TEST_F(ShuffleBufferTest, APositionOfOtherDataSaysWhatChanged) {
  ShuffleBuffer buffer(config_, 0, 1, 0, tokenizer_);
  const auto state = buffer.saved(buffer.start(42));
  config_.batch_size = 3;
  ShuffleBuffer other(config_, 0, 1, 0, tokenizer_);
  std::vector<std::string> reasons;
  EXPECT_FALSE(other.start(state, reasons));
  EXPECT_EQ(reasons, std::vector<std::string>{"data.batch_size was 2, is 3"});
}

TEST_F(ShuffleBufferTest, ACancelledOneFailsUntilItStartsAgain) {
  ShuffleBuffer buffer(config_, 0, 1, 0, tokenizer_);
  buffer.start(42);
  const auto first = buffer.make().batch.tokens;
  buffer.cancel();
  EXPECT_EQ(test::error_of([&] { buffer.make(); }), "data loader: stopped");
  EXPECT_EQ(test::error_of([&] { buffer.make(); }), "data loader: stopped");
  buffer.start(42);
  EXPECT_EQ(buffer.make().batch.tokens, first);
}

TEST_F(ShuffleBufferTest, SizesOfNothingAreNamed) {
  config_.prefetch_size = 0;
  EXPECT_EQ(test::error_of([&] { ShuffleBuffer(config_, 0, 1, 0, tokenizer_); }),
            "data.prefetch_size: expected at least 1, found 0");
}

}  // namespace
}  // namespace lt2
