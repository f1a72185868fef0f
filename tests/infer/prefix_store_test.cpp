// Which prefix a prompt gets, which prefixes are dropped first, and a prefix in a file.
#include "infer/prefix_store.h"

#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/models.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

using Ids = std::vector<int32_t>;
constexpr int64_t kPlenty = int64_t{1} << 40;

class Prefixes : public ::testing::Test {
 protected:
  // As if all of `tokens` had been read.
  Prefix prefix(const Ids& tokens, bool with_logits = true) {
    torch::NoGradGuard no_grad;
    Prefix out{.tokens = tokens, .state = model_->make_state(1)};
    const auto logits = model_->step(torch::tensor(tokens, torch::kInt64).unsqueeze(0), out.state);
    if (with_logits) out.logits = logits.reshape({-1}).clone();
    return out;
  }
  // The tokens of the prefix that `prompt` finds.
  Ids found(const Ids& prompt) {
    const auto* best = store_.longest(prompt);
    return best ? best->tokens : Ids{};
  }
  std::shared_ptr<LoopedTransformer> model_ = test::make_model({.name = "full"});
  PrefixStore store_;
};

TEST_F(Prefixes, TheLongestThatThePromptBeginsWith) {
  for (const Ids& tokens : {Ids{1}, Ids{1, 2, 3}, Ids{1, 2}, Ids{2, 3, 4, 5}}) store_.add(prefix(tokens), 10, kPlenty);
  EXPECT_EQ(found({1, 2, 3, 4}), (Ids{1, 2, 3}));
  EXPECT_EQ(found({1, 2, 4}), (Ids{1, 2}));
  EXPECT_EQ(found({1, 2}), (Ids{1, 2}));
  EXPECT_EQ(found({2, 3, 4}), Ids{});
  EXPECT_EQ(found({}), Ids{});
}

// A prefix without logits serves only longer prompts.
TEST_F(Prefixes, AWholePromptNeedsItsLogits) {
  store_.add(prefix({1, 2, 3}, false), 10, kPlenty);
  store_.add(prefix({1, 2}), 10, kPlenty);
  EXPECT_EQ(found({1, 2, 3}), (Ids{1, 2}));
  EXPECT_EQ(found({1, 2, 3, 4}), (Ids{1, 2, 3}));
}

TEST_F(Prefixes, AnEqualOneIsReplaced) {
  store_.add(prefix({1, 2}, false), 10, kPlenty);
  store_.add(prefix({1, 2}), 10, kPlenty);
  EXPECT_EQ(store_.size(), 1u);
  EXPECT_TRUE(store_.longest({1, 2})->logits.defined());
}

TEST_F(Prefixes, ThoseUsedLongestAgoGoFirst) {
  for (int32_t first = 1; first <= 3; ++first) store_.add(prefix({first, 9}), 3, kPlenty);
  EXPECT_EQ(found({1, 9, 9}), (Ids{1, 9}));  // a use
  store_.add(prefix({4, 9}), 3, kPlenty);
  EXPECT_EQ(store_.size(), 3u);
  EXPECT_EQ(found({2, 9, 9}), Ids{});
  EXPECT_EQ(found({3, 9, 9}), (Ids{3, 9}));
  EXPECT_EQ(found({1, 9, 9}), (Ids{1, 9}));
}

TEST_F(Prefixes, StayWithinTheirBytes) {
  const auto one = prefix({1, 9}).bytes();
  EXPECT_GT(one, prefix({1, 9}, false).bytes());
  for (int32_t first = 1; first <= 4; ++first) store_.add(prefix({first, 9}), 10, 2 * one + one / 2);
  EXPECT_EQ(store_.size(), 2u);
  EXPECT_EQ(store_.bytes(), 2 * one);
  EXPECT_EQ(found({3, 9, 9}), (Ids{3, 9}));
  store_.shrink(one);
  EXPECT_EQ(store_.bytes(), one);
  EXPECT_EQ(found({3, 9, 9}), (Ids{3, 9}));  // the one used last
  store_.shrink(0);
  EXPECT_EQ(store_.size(), 0u);
  EXPECT_EQ(store_.bytes(), 0);
}

TEST_F(Prefixes, AFileKeepsEveryBitForItsModelAndRule) {
  const test::TempFolder folder;
  const auto path = folder.path() / "session.safetensors";
  const auto saved = prefix({5, 6, 7});
  save_prefix(path, saved, *model_, {});
  const auto loaded = load_prefix(path, *model_, {});
  EXPECT_EQ(loaded.tokens, saved.tokens);
  EXPECT_EQ(loaded.exit, saved.exit);
  EXPECT_EQ(loaded.state.position, 3);
  EXPECT_TRUE(test::identical(loaded.logits, saved.logits));
  {
    torch::NoGradGuard no_grad;
    auto a = saved.state.clone(0), b = loaded.state.clone(0);
    const auto next = torch::full({1, 1}, 8, torch::kInt64);
    EXPECT_TRUE(test::identical(model_->step(next, b), model_->step(next, a)));
  }
  // The last loop's step is the same rule; another one gives other logits.
  EXPECT_TRUE(load_prefix(path, *model_, {.step = 1}).logits.defined());
  EXPECT_FALSE(load_prefix(path, *model_, {.step = 0}).logits.defined());
  const auto other = test::make_model({.name = "full"});
  {
    torch::NoGradGuard no_grad;
    other->norm->weight.mul_(1.5);
  }
  const auto error = test::error_of([&] { load_prefix(path, *other, {}); });
  EXPECT_TRUE(error.starts_with(path.string() + ": saved with another model than this one")) << error;
}

}  // namespace
}  // namespace lt2
