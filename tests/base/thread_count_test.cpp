#include "base/thread_count.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/threads.h"

namespace lt2 {
namespace {

TEST(ThreadCount, IsAWholeNumberOrTheFirstLevel) {
  EXPECT_EQ(thread_count_from_text("1", "n"), 1);
  EXPECT_EQ(thread_count_from_text(" 1 ", "n"), 1);
  EXPECT_EQ(thread_count_from_text("1,64", "n"), 1);
  EXPECT_EQ(thread_count_from_text(std::to_string(allowed_cores()), "n"), allowed_cores());
}

TEST(ThreadCount, EndsAtTheCoresWithAWarningThatNamesBoth) {
  for (const std::string text : {"100000", "99999999999999999999", "100000,2"}) {
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(thread_count_from_text(text, "OMP_NUM_THREADS"), allowed_cores());
    const auto warning = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(warning.find("OMP_NUM_THREADS: " + text + " threads"), std::string::npos) << warning;
    EXPECT_NE(warning.find(" " + std::to_string(allowed_cores()) + " "), std::string::npos) << warning;
  }
}

TEST(ThreadCount, NonsenseIsNamed) {
  for (const std::string text : {"abc", "-3", "0", "1e9", "", " ", "2x", "+2", "1.5", ",", "2,", "2,0", "0x2", "2\n"}) {
    try {
      thread_count_from_text(text, "OMP_NUM_THREADS");
      ADD_FAILURE() << "\"" << text << "\" was taken";
    } catch (const Error& error) {
      const std::string line = error.what();
      EXPECT_TRUE(line.starts_with("OMP_NUM_THREADS must be a whole number >= 1")) << line;
      EXPECT_NE(line.find("\"" + text + "\""), std::string::npos) << line;
    }
  }
}

}  // namespace
}  // namespace lt2
