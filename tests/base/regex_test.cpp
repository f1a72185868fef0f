#include "base/regex/regex.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "base/error.h"

namespace lt2 {
namespace {

using Matches = std::vector<std::pair<size_t, size_t>>;

Matches found_by(const Regex& regex, std::string_view text) {
  Matches all;
  regex.each_match(text, [&](size_t begin, size_t end) { all.emplace_back(begin, end); });
  return all;
}

Matches found(const std::string& pattern, std::string_view text) { return found_by(Regex(pattern, "test"), text); }

// GPT-2, Llama-3, Qwen 2, o200k, DeepSeek's steps, BLOOM, StarCoder and Falcon, CLIP, Kimi, digits from the right.
const std::vector<std::string>& published() {
  static const std::vector<std::string> patterns = {
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"([一-龥぀-ゟ゠-ヿ]+)",
      R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆ]+)",
      R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)",
      R"(\s+$)",
      R"( ?[^(\s|[.,!?…。，、।۔،])]+)",
      R"([0-9][0-9][0-9])",
      R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)",
      R"([\p{Han}]+|[\p{Lu}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lo}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"(\d{1,3}(?=(?:\d{3})*\b))"};
  return patterns;
}

const std::vector<std::string>& others() {
  static const std::vector<std::string> patterns = {R"((?=(\d{3})+(?!\d)))",
                                                    R"(\n{3,}|[^\S\n]{2,}|^ +| +$)",
                                                    R"(\w+|[^\w\s]+)",
                                                    R"((?<!\d)\d|(?<=\s)\S+?\b|\B.)",
                                                    R"(\s+|(?m:a.)|\Aab|b\z|\n\Z)",
                                                    R"((?:ab|a)*+b|a++b|a*?c)",
                                                    R"(a(?i)b|c)",
                                                    R"([[:alpha:]&&[^aeiou]]+|\h\H|[^[:^digit:]])",
                                                    R"((?>a|ab)c|\u00e9\x{1F600}?|\x41)",
                                                    R"((a|ab)(c|bcd)(d*))",
                                                    R"((?:a|b?a){2,3}c|x*)"};
  return patterns;
}

const std::vector<std::string>& characters() {
  // Unicode of other versions agrees on these.
  static const std::vector<std::string> all = {
      "a",      "b",          "c",      "A",      "S",      "s",      "t",      "d",      "x",      "'",
      "'",      " ",          " ",      " ",      "\n",     "\r",     "\t",     "1",      "2",      "9",
      ".",      "!",          "(",      "[",      "|",      "/",      "_",      "\u00a0", "\u0085", "\u00e9",
      "\u017f", "\u212a",     "\u00df", "\u0301", "\u4e00", "\u3042", "\u2028", "\u3000", "\u01c5", "\u02b0",
      "\u2160", "\U0001f600", "\u0661", "\u200b", "\uac00", "\ufb06"};
  return all;
}

TEST(Regex, FindsWhatOnigurumaFinds) {
  std::mt19937 random(3);
  auto patterns = published();
  patterns.insert(patterns.end(), others().begin(), others().end());
  for (const auto& pattern : patterns) {
    const Regex regex(pattern, "test");
    const auto judge = Regex::by_oniguruma(pattern, "judge");
    EXPECT_TRUE(regex.is_linear()) << pattern;
    for (int trial = 0; trial < 1500; ++trial) {
      std::string text;
      const size_t kinds = 1 + random() % characters().size();
      for (int i = static_cast<int>(random() % 20); i > 0; --i) text += characters()[random() % kinds];
      ASSERT_EQ(found_by(regex, text), found_by(judge, text)) << pattern << "\n" << text;
    }
  }
}

// Random patterns, texts of few characters.
TEST(Regex, FindsWhatOnigurumaFindsForAnyPattern) {
  std::mt19937 random(7);
  const std::vector<std::string> atoms = {"a",   "b",   "c", "[ab]", "[^a]", "\\s", "\\S", "\\w", "\\d", ".",
                                          "\\b", "\\B", "^", "$",    "\\n",  "x",   "\\W", "\\A", "\\Z", "(?<=a)"},
                                 opens = {"(?:", "(", "(?=", "(?!", "(?>", "(?i:", "(?m:"},
                                 ends = {"", "", "", "", "*", "+", "?", "{1,3}", "{2,}", "*?", "+?", "++"};
  const std::function<std::string(int)> make = [&](int depth) {
    std::string text;
    for (int i = 1 + static_cast<int>(random() % 3); i > 0; --i) {
      const bool group = depth > 0 && random() % 3 == 0;
      text += group ? opens[random() % opens.size()] + make(depth - 1) + ")" : atoms[random() % atoms.size()];
      text += ends[random() % ends.size()];
    }
    return random() % 3 == 0 ? text + "|" + make(0) : text;
  };
  int linear = 0;
  for (int i = 0; i < 1500; ++i) {
    const auto pattern = make(2);
    std::optional<Regex> regex;
    try {
      regex.emplace(pattern, "test");
    } catch (const Error&) {
      continue;  // malformed
    }
    if (!regex->is_linear()) continue;
    const auto judge = Regex::by_oniguruma(pattern, "judge");
    ++linear;
    for (int trial = 0; trial < 10; ++trial) {
      std::string text;
      const std::string letters = "aabbcA x1\n ";
      const size_t kinds = 1 + random() % letters.size();
      for (int n = static_cast<int>(random() % 12); n > 0; --n) text += letters[random() % kinds];
      ASSERT_EQ(found_by(*regex, text), found_by(judge, text)) << pattern << "\n" << text;
    }
  }
  EXPECT_GT(linear, 400);
}

// No length, and no pattern of this kind, takes more than a few passes.
TEST(Regex, LongTextsAndHostilePatternsTakeLinearTime) {
  for (const auto& pattern : published()) {
    const Regex regex(pattern, "test");
    for (const std::string_view character : {"a", "A", " ", "\n", "1", "!", "\u4e00", "\u0301"}) {
      std::string text;
      for (int i = 0; i < 200'000; ++i) text += character;
      EXPECT_NO_THROW(found_by(regex, text + "x"));
    }
  }
  const std::string text = std::string(1'000'000, 'a') + "\n!";
  for (const char* pattern : {"(a+)+b", "(a|a|b?a)+$\\w", "(?:a|aa)*[bc]", "a*a*a*[bc]", "a++b", "(?:(?:a?a)+)+b",
                              "(?=(?:aa)*b)a", "a+(?!a)[bc]", "(?:a+?)+?\\d"}) {
    const Regex regex(pattern, "test");
    ASSERT_TRUE(regex.is_linear()) << pattern;
    EXPECT_FALSE(regex.found_in(text)) << pattern;
  }
}

TEST(Regex, EmptyMatchesAndCharactersOfManyBytes) {
  EXPECT_EQ(found("x*", "a\u00e9xx"), (Matches{{0, 0}, {1, 1}, {3, 5}}));
  EXPECT_EQ(found("", "\u00e9"), (Matches{{0, 0}, {2, 2}}));
  EXPECT_EQ(found("\\b", "a b"), (Matches{{0, 0}, {1, 1}, {2, 2}, {3, 3}}));
  EXPECT_EQ(found("[^a]", "\U0010ffff\u0800a"), (Matches{{0, 4}, {4, 7}}));
  EXPECT_EQ(found("a", ""), Matches{});
}

// What has no program is Oniguruma's, within limits.
TEST(Regex, OtherPatternsAreSearchedWithinLimits) {
  EXPECT_EQ(found("(a|\u00e9)\\1", "a\u00e9\u00e9aa"), (Matches{{1, 5}, {5, 7}}));
  EXPECT_FALSE(Regex("(a)\\1", "test").is_linear());
  try {
    found("(a|a)+\\1$", std::string(60, 'a') + "c");
    ADD_FAILURE() << "expected an error";
  } catch (const Error& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("test: searching a text of 61 bytes: ")) << error.what();
  }
}

TEST(Regex, MalformedAndHugePatternsAreErrors) {
  for (const std::string pattern : {"(a", "[", "a{2,1}{", "\\p{Nothing}", "\xff", "(?<n>a", "*"}) {
    try {
      Regex(pattern, "here");
      if (pattern != "a{2,1}{") ADD_FAILURE() << pattern;
    } catch (const Error& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("here: no regular expression: ")) << error.what();
    }
  }
  EXPECT_THROW(Regex(std::string(20'000, 'a'), "here"), Error);
  EXPECT_THROW(Regex(std::string(9'000, '('), "here"), Error);
  // Far too long when written out.
  const Regex many("(?:(?:(?:a{1000}b){1000}c){1000}d){1000}", "here");
  EXPECT_FALSE(many.found_in("abcd"));
}

}  // namespace
}  // namespace lt2
