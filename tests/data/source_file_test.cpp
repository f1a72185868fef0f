#include "data/source_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <string>

#include "base/error.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class SourceFiles : public ::testing::Test {
 protected:
  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  test::TempFolder temporary_;
  fs::path path_ = temporary_.path() / "source.jsonl";
};

// Every end of a line, at every place around the border of two blocks, with short and long lines before it.
TEST_F(SourceFiles, LinesAreCutAsPythonCutsThem) {
  constexpr size_t kBlock = 128 << 10;
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    for (size_t first = kBlock - 3; first <= kBlock + 1; ++first) {
      const std::string long_line = std::string(first, 'a') + end, short_line = "b" + end;
      const std::string text = long_line + short_line + end + std::string(300000, 'c');
      write(text);
      const SourceFile file(path_);
      ASSERT_EQ(file.size(), static_cast<int64_t>(text.size()));
      int64_t at = 0;
      for (const auto& expected : {long_line, short_line, end, std::string(300000, 'c')}) {
        EXPECT_TRUE(file.line(at, file.size()) == expected) << first;
        at += static_cast<int64_t>(expected.size());
      }
      EXPECT_EQ(at, file.size());
      EXPECT_EQ(file.line(0, 5), "aaaaa");  // a part that ends within a line
      EXPECT_EQ(file.byte(file.size() - 1), 'c');
      EXPECT_TRUE(file.copy(1, file.size() - 1) == text.substr(1, text.size() - 2));
      EXPECT_EQ(file.copy(3, 3), "");
      EXPECT_EQ(file.bytes(file.size(), file.size()), "");
    }
  }
}

TEST_F(SourceFiles, CutShortIsAnErrorThatNamesIt) {
  write(std::string(400000, 'x'));
  const SourceFile file(path_);
  EXPECT_EQ(file.byte(0), 'x');
  fs::resize_file(path_, 200000);
  EXPECT_EQ(file.byte(100000), 'x');  // of a whole block
  for (const auto& read : {std::function([&] { file.line(300000, 400000); }),
                           std::function([&] { file.copy(0, 400000); }), std::function([&] { file.byte(399999); })}) {
    try {
      read();
      FAIL() << "expected an error";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()),
                path_.string() +
                    ": it had 400000 bytes when it was opened, now it has 200000: cut short while it was "
                    "being read. Restore it");
    }
  }
  EXPECT_THROW(SourceFile(path_.parent_path()), Error);
  EXPECT_THROW(SourceFile("/dev/null"), Error);
}

}  // namespace
}  // namespace lt2
