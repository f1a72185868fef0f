#include "base/process.h"

#include <gtest/gtest.h>

namespace lt2 {
namespace {

TEST(RunProgram, TakesWordsAsTheyStand) {
  EXPECT_EQ(run_program({"true"}), 0);
  EXPECT_EQ(run_program({"test", "$(echo a) `b` 'c' \"d\" *", "=", "$(echo a) `b` 'c' \"d\" *"}), 0);
  EXPECT_EQ(run_program({"sh", "-c", "exit 7"}), 7);
  EXPECT_EQ(run_program({"sh", "-c", "kill -TERM $$"}), 128 + 15);
  EXPECT_EQ(run_program({"no such program; true"}), 127);
}

}  // namespace
}  // namespace lt2
