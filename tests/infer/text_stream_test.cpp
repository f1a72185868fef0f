#include "infer/text_stream.h"

#include <gtest/gtest.h>

namespace lt2 {
namespace {

class TextStreamTest : public ::testing::Test {
 protected:
  // Everything shown, letter by letter, and whether a stop text came.
  std::pair<std::string, bool> shown(const std::string& text, const std::vector<std::string>& stops) {
    const auto tokenizer = make_tokenizer("bytes", std::nullopt);
    TextStream stream(*tokenizer, stops);
    std::string out;
    for (const int32_t token : tokenizer->encode(text, false, false)) {
      out += stream.push(token);
      if (stream.stopped()) break;
    }
    return {out + stream.finish(), stream.stopped()};
  }
};

TEST_F(TextStreamTest, EndsBeforeTheFirstStopText) {
  EXPECT_EQ(shown("one two three", {"three", "two"}), std::pair(std::string("one "), true));
  EXPECT_EQ(shown("one two", {}), std::pair(std::string("one two"), false));
  EXPECT_EQ(shown("one two", {""}), std::pair(std::string("one two"), false));
}

TEST_F(TextStreamTest, ShowsWhatOnlyLookedLikeOne) {
  EXPECT_EQ(shown("aab aaab", {"aaac"}), std::pair(std::string("aab aaab"), false));
  EXPECT_EQ(shown("xaaab!", {"aab"}), std::pair(std::string("xa"), true));
  EXPECT_EQ(shown("end\nUse", {"\nUser:"}), std::pair(std::string("end\nUse"), false));
}

TEST_F(TextStreamTest, NeverShowsPartOfAStopText) {
  const auto tokenizer = make_tokenizer("bytes", std::nullopt);
  TextStream stream(*tokenizer, {"STOP"});
  std::string out;
  for (const int32_t token : tokenizer->encode("a STO", false, false)) out += stream.push(token);
  EXPECT_EQ(out, "a ");
  for (const int32_t token : tokenizer->encode("P", false, false)) out += stream.push(token);
  EXPECT_EQ(out, "a ");
  EXPECT_TRUE(stream.stopped());
}

TEST_F(TextStreamTest, KeepsCharactersWhole) {
  EXPECT_EQ(shown("Grüße €", {"€"}), std::pair(std::string("Grüße "), true));
}

}  // namespace
}  // namespace lt2
