#include "report/html.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lt2 {
namespace {

TEST(Html, EscapesEverythingThatMeansSomething) {
  EXPECT_EQ(escape_html(R"(<script>alert("a" & 'b')</script>)"),
            "&lt;script&gt;alert(&quot;a&quot; &amp; &#39;b&#39;)&lt;/script&gt;");
  EXPECT_EQ(escape_html("&lt;"), "&amp;lt;");
}

TEST(Html, ShowsControlCharactersAndKeepsLines) {
  EXPECT_EQ(escape_html(std::string_view("a\0b\x1B\x7F\n\tc", 8)), "a&#x2400;b&#x241b;&#x2421;\n\tc");
  EXPECT_EQ(escape_html("a\r\nb\rc"), "a\nb&#x240d;c");
}

TEST(Html, ReplacesBytesThatAreNoUtf8) {
  const std::string good = "a é € 😀";
  EXPECT_EQ(valid_utf8(good), good);
  EXPECT_EQ(valid_utf8("\xFFz"), "\uFFFDz");
  EXPECT_EQ(valid_utf8("\xC0\xAF"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // surrogate
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // above U+10FFFF
  EXPECT_EQ(valid_utf8("x\xE2\x82"), "x\uFFFD\uFFFD");                    // cut short
}

TEST(Html, NumbersHaveThreeDigits) {
  EXPECT_EQ(format_number(0), "0.00");
  EXPECT_EQ(format_number(1.8349), "1.83");
  EXPECT_EQ(format_number(9.999), "10.0");
  EXPECT_EQ(format_number(97.21), "97.2");
  EXPECT_EQ(format_number(999.9), "1,000");
  EXPECT_EQ(format_number(-1234567.4), "-1,234,567");
  EXPECT_EQ(format_number(0.04212), "0.0421");
  EXPECT_EQ(format_number(1.2e20), "1.20e+20");
  EXPECT_EQ(format_number(3e-5), "3.00e-05");
  EXPECT_EQ(format_number(NAN), "–");
  EXPECT_EQ(format_number(-INFINITY), "–");
}

TEST(Html, TicksContextsAndShares) {
  EXPECT_EQ(format_tick(3 * 0.1), "0.3");
  EXPECT_EQ(format_tick(20000), "20,000");
  EXPECT_EQ(format_tick(1e16), "1e+16");
  EXPECT_EQ(format_tick(NAN), "–");
  EXPECT_EQ(format_context(32768), "32k");
  EXPECT_EQ(format_context(1000), "1,000");
  EXPECT_EQ(format_context(512), "512");
  EXPECT_EQ(format_context(1048576), "1,024k");
  EXPECT_EQ(format_share(0.432), "43 %");
  EXPECT_EQ(format_share(0.0123), "1.2 %");
  EXPECT_EQ(format_share(INFINITY), "–");
}

}  // namespace
}  // namespace lt2
