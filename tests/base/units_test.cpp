#include "base/units.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace lt2 {
namespace {

TEST(Units, Bytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(141.0 * (1 << 30)), "141.0 GiB");
  EXPECT_EQ(human_bytes(-1536), "-1.5 KiB");
}

TEST(Units, Count) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1000), "1.00K");
  EXPECT_EQ(human_count(1234567), "1.23M");
  EXPECT_EQ(human_count(12345678), "12.3M");
  EXPECT_EQ(human_count(999600), "1.00M");
  EXPECT_EQ(human_count(9996000), "10.0M");
  EXPECT_EQ(human_count(7e9), "7.00B");
}

TEST(Units, Duration) {
  EXPECT_EQ(human_duration(0), "0.0 s");
  EXPECT_EQ(human_duration(4.2), "4.2 s");
  EXPECT_EQ(human_duration(59.9), "59.9 s");
  EXPECT_EQ(human_duration(59.96), "1:00");
  EXPECT_EQ(human_duration(65), "1:05");
  EXPECT_EQ(human_duration(3599.6), "1:00:00");
  EXPECT_EQ(human_duration(3725), "1:02:05");
  EXPECT_EQ(human_duration(90 * 3600), "90:00:00");
  EXPECT_EQ(human_duration(INFINITY), "inf s");
}

TEST(Units, MemoryAsPeopleWriteIt) {
  EXPECT_EQ(memory_from_text("2G", "--memory"), uint64_t{2} << 30);
  EXPECT_EQ(memory_from_text("1.5M", "--memory"), 3u << 19);
  EXPECT_EQ(memory_from_text("65536", "--memory"), 65536u);
  for (const char* text : {"", "G", "-1G", "2X", "2GB", "0", "nan", "1e30", " 2G", "inf"}) {
    try {
      memory_from_text(text, "--memory");
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), fmt::format("--memory {}: expected a size such as 2G, 1.5G or 200M", text));
    }
  }
}

}  // namespace
}  // namespace lt2
