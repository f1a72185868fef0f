// Rows of the tokens seen: what a query gets back, and that a window bounds the memory for good.
#include "mixers/kv_state.h"

#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::identical;

constexpr int64_t kBatch = 2, kHeads = 3, kWidth = 5;

StateOptions options_of(std::optional<int64_t> window, int64_t reserve = 0) {
  return {
      .batch = kBatch, .dtype = torch::kFloat32, .device = torch::kCPU, .window = window, .reserve_tokens = reserve};
}

/// Memory of the buffer that view() shows, in rows of all sequences and heads.
int64_t rows_in_memory(const TokenRows& rows) {
  return static_cast<int64_t>(rows.view().storage().nbytes()) / (kBatch * kHeads * kWidth * 4);
}

class TokenRowsOfWindow : public ::testing::TestWithParam<int64_t> {};  // 0: none

TEST_P(TokenRowsOfWindow, GiveEveryVisibleRow) {
  const auto window = GetParam() > 0 ? std::optional(GetParam()) : std::nullopt;
  torch::manual_seed(1);
  const auto all = torch::randn({kBatch, 900, kHeads, kWidth});
  TokenRows rows(options_of(window), kHeads, kWidth);
  int64_t position = 0;
  for (const int64_t piece : {1, 3, 64, 1, 200, 1, 1, 1, 70, 300, 1, 1, 130, 1}) {
    const int64_t first = position - TokenRows::kept_after(position, window);
    const auto seen = rows.append(all.narrow(1, position, piece));
    position += piece;
    ASSERT_TRUE(identical(seen, all.narrow(1, first, position - first))) << "at " << position;
    const int64_t kept = TokenRows::kept_after(position, window);
    ASSERT_EQ(rows.kept(), kept);
    ASSERT_TRUE(identical(rows.view().transpose(1, 2), all.narrow(1, position - kept, kept))) << "at " << position;
    if (window) {
      ASSERT_LE(rows_in_memory(rows) - std::max<int64_t>(64, *window / 8), *window);
    }
  }
  TokenRows restored(options_of(window), kHeads, kWidth);
  restored.restore({{"name", rows.view().clone()}}, "name", position);
  for (int64_t i = 0; i < 100; ++i, ++position) {
    const auto next = all.narrow(1, position, 1);
    ASSERT_TRUE(identical(restored.append(next), rows.append(next))) << i;
    if (window) {
      ASSERT_LE(rows_in_memory(restored) - std::max<int64_t>(64, *window / 8), *window);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, TokenRowsOfWindow, ::testing::Values(0, 1, 2, 50, 65, 300, 2000, INT64_MAX),
                         [](const auto& w) { return "w" + std::to_string(w.param); });

TEST(TokenRows, ALargeWindowStartsSmall) {
  TokenRows rows(options_of(int64_t{1} << 20), kHeads, kWidth);
  rows.append(torch::zeros({kBatch, 10, kHeads, kWidth}));
  EXPECT_EQ(rows_in_memory(rows), 10);
}

TEST(TokenRows, ReservedMemoryIsNotMovedByDecoding) {
  TokenRows rows(options_of(std::nullopt, 100), kHeads, kWidth);
  rows.append(torch::zeros({kBatch, 10, kHeads, kWidth}));
  const void* before = rows.view().data_ptr();
  for (int64_t i = 0; i < 90; ++i) rows.append(torch::zeros({kBatch, 1, kHeads, kWidth}));
  EXPECT_EQ(rows.view().data_ptr(), before);
}

TEST(KvState, CastsToTheTypeOfTheCache) {
  for (const auto window : {std::optional<int64_t>(4), std::optional<int64_t>()}) {
    auto options = options_of(window);
    options.dtype = torch::kBFloat16;
    KvState state(options, kHeads, kWidth);
    const auto k = torch::randn({kBatch, 80, kHeads, kWidth});
    const auto keys = state.append(k, k);
    EXPECT_EQ(keys.first_position, 0);
    EXPECT_TRUE(identical(keys.k, k.to(torch::kBFloat16)));
  }
}

}  // namespace
}  // namespace lt2
