#include "base/utf8.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/regex/onig.h"

namespace lt2 {
namespace {

TEST(Utf8, CountsMaximalSubparts) {
  EXPECT_EQ(count_invalid_utf8("plain ASCII, long enough for whole words, then \xc3\xa9"), 0);
  EXPECT_EQ(count_invalid_utf8("\xed\xa0\x80"), 3);          // a surrogate
  EXPECT_EQ(count_invalid_utf8("\xf4\x90\x80\x80"), 4);      // above U+10FFFF
  EXPECT_EQ(count_invalid_utf8("\xf0\x9f\x98"), 1);          // cut off
  EXPECT_EQ(count_invalid_utf8("\xe2\x82\xe2\x82\xac"), 1);  // broken off, then a whole character
  EXPECT_EQ(count_invalid_utf8(std::string_view("\0\x80", 2)), 1);
}

TEST(Utf8, AppendIsTheInverseOfReading) {
  for (const uint32_t code : {0x0u, 0x7fu, 0x80u, 0x7ffu, 0x800u, 0xd7ffu, 0xe000u, 0xffffu, 0x10000u, 0x10ffffu}) {
    std::string text;
    append_utf8(text, code);
    const Utf8Unit unit = utf8_unit(text, 0);
    EXPECT_TRUE(unit.valid) << code;
    EXPECT_EQ(unit.bytes, text.size()) << code;
  }
}

TEST(Utf8, BordersNeverCutACharacter) {
  const std::string text =
      "a\xe2\x82\xac"
      "b";
  EXPECT_EQ(utf8_border_from(text, 1), 1u);
  EXPECT_EQ(utf8_border_from(text, 2), 4u);
  EXPECT_EQ(utf8_border_from(text, 3), 4u);
  EXPECT_EQ(utf8_border_from(text, 5), 5u);
}

// The library that runs it would read beyond its end.
TEST(Utf8, APatternIsRefusedWhereItIsBroken) {
  EXPECT_NO_THROW(compile_onig("a\xe2\x82\xac", "p"));
  for (const std::string pattern : {"\x80", "a\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    try {
      compile_onig(pattern, "p");
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "p: no regular expression: not UTF-8");
    }
  }
}

}  // namespace
}  // namespace lt2
