#include "base/text.h"

#include <gtest/gtest.h>

namespace lt2 {
namespace {

TEST(Printable, ShowsControlCharactersOnly) {
  EXPECT_EQ(printable("a\nb\tc\rd\x1b[0m\x7f"), "a\\nb\\tc\\rd\\x1b[0m\\x7f");
  EXPECT_EQ(printable(std::string("\0x", 2)), "\\x00x");
  EXPECT_EQ(printable("\xc2\x85|\xc2\x9f"), "\\x85|\\x9f");
  for (const std::string text :
       {"", "plain", "a b'c\"$(d)`e`\\n", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc2\xa0", "\xc2"})
    EXPECT_EQ(printable(text), text);
}

}  // namespace
}  // namespace lt2
