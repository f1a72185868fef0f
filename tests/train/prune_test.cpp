// Which checkpoints stay.
#include <gtest/gtest.h>

#include <set>

#include "base/files.h"
#include "checkpoint/checksums.h"
#include "tests/support/temp_folder.h"
#include "train/checkpoint.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Steps = std::set<int64_t>;

class Prune : public ::testing::Test {
 protected:
  void add(int64_t step, bool complete = true) {
    const auto folder = checkpoint_folder(root_, step);
    fs::create_directories(folder);
    write_file_atomically(folder / "weights", std::to_string(step));
    if (complete) write_checksums(folder);
  }
  // The steps that remain of these. Every name in the folder must be a step's.
  Steps left_of(const Steps& steps, int64_t step, const SaveConfig& dump, const SaveConfig& eval) {
    for (const auto s : steps) add(s);
    CheckpointConfig config;
    config.dump = dump;
    config.eval = eval;
    prune_checkpoints(root_, step, config);
    Steps left;
    for (const auto& entry : fs::directory_iterator(root_)) {
      const auto name = entry.path().filename().string();
      left.insert(std::stoll(name));
      EXPECT_EQ(entry.path(), checkpoint_folder(root_, std::stoll(name)));
    }
    return left;
  }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

constexpr SaveConfig kNoEval{.every = 1'000'000, .keep = 0};

TEST_F(Prune, TheNewestOfEachKindStay) {
  EXPECT_EQ(left_of({2, 4, 6, 8, 10}, 10, {.every = 2, .keep = 2}, kNoEval), (Steps{8, 10}));
}

TEST_F(Prune, OneThatEitherKindKeepsStays) {
  EXPECT_EQ(left_of({2, 4, 10, 12, 14, 20, 22}, 22, {.every = 2, .keep = 1}, {.every = 10, .keep = 2}),
            (Steps{10, 20, 22}));
}

TEST_F(Prune, WithoutALimitAllStay) {
  EXPECT_EQ(left_of({2, 4, 6}, 6, {.every = 2, .keep = 0}, kNoEval), (Steps{2, 4, 6}));
  EXPECT_EQ(left_of({2, 4, 6}, 6, {.every = 2, .keep = -1}, kNoEval), (Steps{2, 4, 6}));
}

// The step at which a run was stopped, say.
TEST_F(Prune, ThoseOfNeitherKindStay) {
  EXPECT_EQ(left_of({2, 3, 4, 5, 6}, 6, {.every = 2, .keep = 1}, kNoEval), (Steps{3, 5, 6}));
}

TEST_F(Prune, ThoseBeyondTheStepNeitherCountNorGo) {
  EXPECT_EQ(left_of({2, 4, 6, 8, 10}, 6, {.every = 2, .keep = 1}, kNoEval), (Steps{6, 8, 10}));
}

TEST_F(Prune, AnIncompleteOneNeitherCountsNorGoes) {
  add(8, false);
  EXPECT_EQ(left_of({2, 4, 6}, 8, {.every = 2, .keep = 1}, kNoEval), (Steps{6, 8}));
}

}  // namespace
}  // namespace lt2
