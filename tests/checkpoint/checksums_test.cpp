#include "checkpoint/checksums.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

class Checksums : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "inner");
    write_file_atomically(folder_ / "a", "123456789");
    write_file_atomically(folder_ / "inner/b", "");
    write_checksums(folder_);
  }
  std::string error() const {
    return test::error_of([&] { verify_checksums(folder_); });
  }
  test::TempFolder temporary_;
  std::filesystem::path folder_ = temporary_.path();
};

TEST_F(Checksums, KnownValues) {
  EXPECT_EQ(file_crc32(folder_ / "a"), "cbf43926");
  EXPECT_EQ(file_crc32(folder_ / "inner/b"), "00000000");
  EXPECT_THROW(file_crc32(folder_ / "none"), Error);
  EXPECT_THROW(file_crc32(folder_), Error);
}

TEST_F(Checksums, UntouchedFolderPasses) {
  EXPECT_EQ(error(), "");
  EXPECT_TRUE(is_complete(folder_));
  const std::string first = read_file(folder_ / "checksums.json");
  write_checksums(folder_);
  EXPECT_EQ(read_file(folder_ / "checksums.json"), first);
  write_file_atomically(folder_ / "note", "added later");
  EXPECT_EQ(error(), "");
}

TEST_F(Checksums, ChangedByte) {
  write_file_atomically(folder_ / "a", "123456780");
  EXPECT_EQ(error().rfind((folder_ / "a").string() + ": expected CRC-32 cbf43926, found ", 0), 0u) << error();
  EXPECT_TRUE(is_complete(folder_));  // which looks at sizes only
}

TEST_F(Checksums, ChangedSize) {
  write_file_atomically(folder_ / "inner/b", "x");
  EXPECT_EQ(error().rfind((folder_ / "inner/b").string() + ": expected 0 bytes, found 1", 0), 0u) << error();
  EXPECT_FALSE(is_complete(folder_));
}

TEST_F(Checksums, MissingFile) {
  std::filesystem::remove(folder_ / "a");
  EXPECT_EQ(error().rfind((folder_ / "a").string() + ": ", 0), 0u) << error();
  EXPECT_FALSE(is_complete(folder_));
}

TEST_F(Checksums, MissingList) {
  std::filesystem::remove(folder_ / "checksums.json");
  EXPECT_NE(error().find("checksums.json: missing"), std::string::npos);
  EXPECT_FALSE(is_complete(folder_));
  EXPECT_FALSE(is_complete(folder_ / "none"));
}

TEST_F(Checksums, DamagedList) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{\"a\": 1}"),
        std::string("{\"a\": {\"bytes\": -1, \"crc32\": \"0\"}}"), std::string("{\"a\": {\"bytes\": 9}}"),
        std::string("{\"../a\": {\"bytes\": 9, \"crc32\": \"cbf43926\"}}"),
        std::string("{\"/etc/passwd\": {\"bytes\": 9, \"crc32\": \"cbf43926\"}}"), std::string(1000000, '['),
        "{\"a\": " + std::string(1000000, '[')}) {
    write_file_atomically(folder_ / "checksums.json", text);
    EXPECT_NE(error().find("checksums.json: expected"), std::string::npos) << text.substr(0, 100) << ": " << error();
    EXPECT_FALSE(is_complete(folder_));
  }
}

}  // namespace
}  // namespace lt2
