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

TEST(Units, AmountsAsPeopleWriteThem) {
  EXPECT_EQ(amount_from_text("2G"), int64_t{2} << 30);
  EXPECT_EQ(amount_from_text("1.5M"), 3 << 19);
  EXPECT_EQ(amount_from_text("65536"), 65536);
  EXPECT_EQ(amount_from_text("1k"), 1024);
  EXPECT_EQ(amount_from_text("32K"), 32768);
  EXPECT_EQ(amount_from_text("5GB"), 5'000'000'000);
  EXPECT_EQ(amount_from_text("500MB"), 500'000'000);
  EXPECT_EQ(amount_from_text("12B"), 12);
  EXPECT_EQ(amount_from_text("0"), 0);
  for (const char* text :
       {"", "G", "-1G", "2X", "2GBB", "2kB", "nan", "1e30", "9000000T", " 2G", "2G ", "inf", "1.5", "16,"})
    EXPECT_EQ(amount_from_text(text), std::nullopt) << text;
}

TEST(Units, AmountsReadBack) {
  EXPECT_EQ(amount_text(int64_t{2} << 30), "2G");
  EXPECT_EQ(amount_text(32768), "32k");
  EXPECT_EQ(amount_text(5'000'000'000), "5GB");
  EXPECT_EQ(amount_text(1000), "1000");
  for (const int64_t amount : {int64_t{0}, int64_t{1}, int64_t{1023}, int64_t{1024}, int64_t{1536}, int64_t{3'000'000},
                               int64_t{1} << 40, (int64_t{1} << 40) + 1})
    EXPECT_EQ(amount_from_text(amount_text(amount)), amount) << amount;
}

}  // namespace
}  // namespace lt2
