#include "base/regex/regex.h"

#include <gtest/gtest.h>

#include <csignal>
#include <functional>
#include <random>

#include "base/error.h"
#include "base/signals.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

using test::error_of;

using Matches = std::vector<std::pair<size_t, size_t>>;

Matches found_by(const Regex& regex, std::string_view text) {
  Matches all;
  regex.each_match(text, [&](size_t begin, size_t end) { all.emplace_back(begin, end); });
  return all;
}

// What Oniguruma finds, which gives some of them up.
std::optional<Matches> judged(const Regex& judge, std::string_view text) {
  try {
    return found_by(judge, text);
  } catch (const Error&) {
    return std::nullopt;
  }
}

Matches found(const std::string& pattern, std::string_view text) { return found_by(Regex(pattern, "test"), text); }

struct Counted {
  Matches matches;
  uint64_t steps = 0;
};

Counted counted(const RegexProgram& program, std::string_view text, const RegexMatcher::Limits& limits = {}) {
  const std::string where = "test";
  RegexMatcher matcher(program, text, where, limits);
  Counted all;
  each_match_of(matcher, text.size(), [&](size_t begin, size_t end) { all.matches.emplace_back(begin, end); });
  all.steps = matcher.steps();
  return all;
}

constexpr RegexMatcher::Limits kKeptFromTheStart{.steps_per_byte = 0, .steps = 0};

std::string times(size_t count, std::string_view piece) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += piece;
  return text;
}

// GPT-2, cl100k, Llama-3, Qwen 2, o200k, DeepSeek's steps, BLOOM, StarCoder and Falcon, CLIP, Kimi, digits from the
// right.
const std::vector<std::string>& published() {
  static const std::vector<std::string> patterns = {
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
      R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)",
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
                                                    R"((?i)\p{L}+|[^a\s]\w|\p{Lu}\S|(?:\d\W)++|[^\p{L}\D])",
                                                    R"([[:alpha:]&&[^aeiou]]+|\h\H|[^[:^digit:]])",
                                                    R"((?>a|ab)c|\u00e9\x{1F600}?|\x41)",
                                                    R"((a|ab)(c|bcd)(d*))",
                                                    R"((?:a|b?a){2,3}c|x*)",
                                                    R"((?>(?:a|bc)+)a|(?:a|b)++[ab]|(?>[ab]??(?:c|a))*+c|x)",
                                                    R"((?:ab|a){1,3}?c|(?:a|b){2}?x|\d{,2}?[ab])",
                                                    R"((?:a|bc){2,3}+x|[ab]{2}+c|(?:a|b){2,}+$|\d{1,2}+1)"};
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
    const auto program = RegexProgram::compile(pattern);
    ASSERT_TRUE(regex.is_linear() && program) << pattern;
    for (int trial = 0; trial < 1500; ++trial) {
      std::string text;
      const size_t kinds = 1 + random() % characters().size();
      for (int i = static_cast<int>(random() % 20); i > 0; --i) text += characters()[random() % kinds];
      const auto expected = found_by(judge, text);
      ASSERT_EQ(found_by(regex, text), expected) << pattern << "\n" << text;
      ASSERT_EQ(counted(*program, text, kKeptFromTheStart).matches, expected) << pattern << "\n" << text;
    }
  }
}

// Two levels of groups.
std::string random_pattern(std::mt19937& random, int depth = 2) {
  static const std::vector<std::string> atoms = {"a",   "b",   "c",   "[ab]", "[^a]", "\\s",   "\\S",
                                                 "\\w", "\\d", ".",   "\\b",  "\\B",  "^",     "$",
                                                 "\\n", "x",   "\\W", "\\A",  "\\Z",  "(?<=a)"},
                                        opens = {"(?:", "(", "(?=", "(?!", "(?>", "(?i:", "(?m:"},
                                        ends = {"",     "",   "",   "",   "",   "*",    "+",      "?",    "{1,3}",
                                                "{2,}", "*?", "+?", "++", "*+", "{2}?", "{1,3}?", "{2}+", "{2,3}+"};
  std::string text;
  for (int i = 1 + static_cast<int>(random() % 3); i > 0; --i) {
    const bool group = depth > 0 && random() % 3 == 0;
    text += group ? opens[random() % opens.size()] + random_pattern(random, depth - 1) + ")"
                  : atoms[random() % atoms.size()];
    text += ends[random() % ends.size()];
  }
  return random() % 3 == 0 ? text + "|" + random_pattern(random, 0) : text;
}

std::string random_text(std::mt19937& random, size_t most) {
  static const std::string letters = "aabbcA x1\n ";
  std::string text;
  const size_t kinds = 1 + random() % letters.size();
  for (size_t n = random() % (most + 1); n > 0; --n) text += letters[random() % kinds];
  return text;
}

// The program of a random pattern that is well-formed and has one; null if it is not.
std::unique_ptr<const RegexProgram> program_of(const std::string& pattern) {
  try {
    return Regex(pattern, "test").is_linear() ? RegexProgram::compile(pattern) : nullptr;
  } catch (const Error&) {
    return nullptr;
  }
}

TEST(Regex, FindsWhatOnigurumaFindsForAnyPattern) {
  std::mt19937 random(7);
  int linear = 0, compared = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto pattern = random_pattern(random);
    const auto program = program_of(pattern);
    // Oniguruma misses what looks behind at the very end, from any start but the last.
    if (!program || (pattern.find("(?<=a)") != std::string::npos && pattern.find("\\Z") != std::string::npos)) continue;
    const auto judge = Regex::by_oniguruma(pattern, "judge");
    ++linear;
    for (int trial = 0; trial < 12; ++trial) {
      auto text = random_text(random, 12);
      if (trial > 9) text = times(20, text);
      const auto kept = counted(*program, text, kKeptFromTheStart).matches;
      ASSERT_EQ(counted(*program, text).matches, kept) << pattern << "\n" << text;
      const auto expected = judged(judge, text);
      if (!expected) continue;
      ASSERT_EQ(kept, *expected) << pattern << "\n" << text;
      ++compared;
    }
  }
  EXPECT_GT(compared, 8'000);
  EXPECT_GT(linear, 800);
}

// What a text may look like `count` pieces long.
using Long = std::function<std::string(size_t count)>;

Long repeated(std::string_view piece) {
  return [piece](size_t count) { return times(count, piece) + "\n!"; };
}

// Both ways of keeping what was tried agree, at a length that both have behind them, and four times as long a text
// takes four times the steps.
void expect_linear(const std::string& pattern, const Long& text, size_t count) {
  const auto program = RegexProgram::compile(pattern);
  ASSERT_TRUE(program) << pattern;
  const auto few = counted(*program, text(count)), many = counted(*program, text(4 * count));
  EXPECT_LE(many.steps, few.steps * 9 / 2 + 1000) << pattern << " on " << text(3);
  const auto kept = counted(*program, text(count), kKeptFromTheStart),
             more_kept = counted(*program, text(4 * count), kKeptFromTheStart);
  EXPECT_LE(more_kept.steps, kept.steps * 9 / 2 + 1000) << pattern << " on " << text(3);
  EXPECT_EQ(few.matches, kept.matches) << pattern << " on " << text(3);
  EXPECT_EQ(many.matches, more_kept.matches) << pattern << " on " << text(3);
  // Oniguruma takes the square for some of them.
  const auto brief = text(700);
  const auto expected = judged(Regex::by_oniguruma(pattern, "judge"), brief);
  if (!expected) return;
  EXPECT_EQ(counted(*program, brief).matches, *expected) << pattern << " on " << text(3);
}

TEST(Regex, PublishedPatternsTakeLinearTime) {
  for (const auto& pattern : published())
    for (const std::string_view character : {"a", "A", " ", "\n", "1", "!", "\u4e00", "\u0301"})
      expect_linear(
          pattern, [&](size_t count) { return times(count, character) + "x"; }, 20'000);
}

TEST(Regex, HostilePatternsTakeLinearTime) {
  for (const char* pattern : {"(a+)+b", "(a|a|b?a)+$\\w", "(?:a|aa)*[bc]", "a*a*a*[bc]", "a++b", "(?:(?:a?a)+)+b",
                              "(?=(?:aa)*b)a", "a+(?!a)[bc]", "(?:a+?)+?\\d", "\\d|a{1,3}?b"})
    expect_linear(pattern, repeated("a"), 20'000);
  // Bodies that match again and again, and what comes behind them never.
  for (const char* pattern :
       {"(?>(?:ab)+)c|.", "(?:ab)++c|(?:ab)", "(?>(?>(?:ab)+)b?)c|.", "(?=(?>(?:ab|b)+)c).|b", "(?:(?=(?:ab)+).)*c|.",
        "(?>(?>[ab]|c)+?(?=\\n))c|.", "(?>(?:a++b)+)c|.", "(?>(?:[ab][ab])*?(?=\\n))c|."})
    expect_linear(pattern, repeated("ab"), 10'000);
  // Runs that are scanned from many places, and others in between.
  const Long two = [](size_t count) { return times(2, times(count, "a") + "b"); };
  for (const char* pattern : {"(?:a++b)*c|.", "(?:a+b)*c|.", "(?:[ad]*+b)??a++c|.", "(?:[ad]*b)??a++c|.",
                              "(?=(?:a++b)+c).|a", "(?:a++b?+)*c|.", "(?>(?:a+b)*)c|."})
    expect_linear(pattern, two, 10'000);
  const Long many = [](size_t count) { return times(count / 100, times(100, "a") + "b"); };
  for (const char* pattern : {"(?:a++b)*c|.", "(?:a+b)*c|.", "(?>(?:a++b)*)c|."}) expect_linear(pattern, many, 20'000);
}

// Or the two tests above would judge nothing.
TEST(Regex, ScannedCharactersAreSteps) {
  const auto text = times(1'000, "a\u00e9");
  for (const char* pattern : {"\\w+", "\\w++", "\\w{2,}+b", "\\w{3,900}", "\\w{900}\\w*", "\\w*b|\\d", "(?:a|\\w)+"})
    EXPECT_GE(counted(*RegexProgram::compile(pattern), text).steps, 2'000u) << pattern;
}

TEST(Regex, AnyPatternTakesLinearTime) {
  std::mt19937 random(11);
  for (int i = 0; i < 1500; ++i) {
    const auto pattern = random_pattern(random);
    const auto program = program_of(pattern);
    if (!program) continue;
    for (int trial = 0; trial < 3; ++trial) {
      const auto first = random_text(random, 3), piece = random_text(random, 4), last = random_text(random, 3);
      const auto steps = [&](size_t count) {
        return counted(*program, first + times(count, piece) + last, kKeptFromTheStart).steps;
      };
      EXPECT_LE(steps(800), steps(200) * 5 + 2000) << pattern << "\n" << piece;
    }
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
  const auto error = error_of([] { found("(a|a)+\\1$", std::string(60, 'a') + "c"); });
  EXPECT_TRUE(error.starts_with("test: searching a text of 61 bytes: ")) << error;
}

// Each search alone takes few steps back, or a choice for every byte.
TEST(Regex, OtherPatternsShareTheLimitsOfTheirText) {
  for (const char* pattern : {"(x)?(?:\\1|)(?>(?:a|b)+)c|.", "(x)?(?:\\1|)(?:a|b)+c|."}) {
    const auto error = error_of([&] { found(pattern, times(10'000, "ab")); });
    EXPECT_EQ(error, "test: searching a text of 20000 bytes: too many steps. Simplify the pattern") << pattern;
  }
}

// Far from where a search begins, and beyond what one call tries.
TEST(Regex, OtherPatternsAreSearchedToTheEnd) {
  const auto text = times(5'000, "ab \u00e9") + "xx";
  const size_t end = text.size();
  EXPECT_EQ(found("(x)\\1", text), (Matches{{end - 2, end}}));
  EXPECT_EQ(found("(\\w)[\\w\\s]{1,40}\\1\\1", "b" + text), Matches{});
  EXPECT_EQ(found("([a-z])(?:\\b|\\B)\\1", text), (Matches{{end - 2, end}}));
  EXPECT_EQ(found("(\\S?)\\S?+\\z", text), (Matches{{end - 2, end}}));
  EXPECT_EQ(found("\\Ga|(q)\\1", "a" + text), (Matches{{0, 1}, {1, 2}}));
  EXPECT_EQ(found("(x)\\1\\z|$", text), (Matches{{end - 2, end}}));
}

TEST(Regex, MemoryHasALimit) {
  const auto program = RegexProgram::compile("(?:a|b)+");
  const auto text = times(5'000, "ab");
  EXPECT_EQ(counted(*program, text).matches, (Matches{{0, text.size()}}));
  auto error = error_of([&] { counted(*program, text, {.memory = 100'000}); });
  EXPECT_TRUE(error.starts_with("test: searching a text of 10000 bytes: a match with more than ")) << error;
  error = error_of([&] { counted(*program, text, {.steps_per_byte = 0, .steps = 0, .memory = 1'000}); });
  EXPECT_TRUE(error.starts_with("test: searching a text of 10000 bytes: ")) << error;
}

TEST(Regex, LongSearchesEndAtASignal) {
  clear_stop_signal();
  catch_stop_signals();
  ::raise(SIGTERM);
  const std::string brief = "ab ab", text = times(400'000, "ab ");
  for (const char* pattern : {"\\w+|\\s", "(x)?(?:\\1|)\\w+|\\s", "(a)\\1"}) {
    EXPECT_NO_THROW(found(pattern, brief));
    try {
      found(pattern, text);
      ADD_FAILURE() << pattern;
    } catch (const StoppedBySignal& stop) {
      EXPECT_STREQ(stop.what(), "test: stopped by signal 15 while working on a text of 1200000 bytes");
    }
  }
  clear_stop_signal();
  EXPECT_EQ(found("\\w+|\\s", text).size(), 800'000u);
}

// A text is one, however many pieces it is searched in: they share the limits and the looks for a signal.
TEST(Regex, PiecesOfATextAreOneText) {
  const std::string where = "test";
  const auto in_pieces = [&](const char* pattern, const std::string& piece, size_t count) {
    const Regex regex(pattern, where);
    const TextWork work(where, piece.size() * count);
    for (size_t i = 0; i < count; ++i) regex.each_match(piece, [](size_t, size_t) {});
  };
  const std::string piece = std::string(14, 'a') + "c";
  EXPECT_NO_THROW(in_pieces("(a|a)+\\1$", piece, 1));
  EXPECT_EQ(error_of([&] { in_pieces("(a|a)+\\1$", piece, 1'000); }),
            "test: searching a text of 15000 bytes: too many steps. Simplify the pattern");
  clear_stop_signal();
  catch_stop_signals();
  ::raise(SIGTERM);
  for (const char* pattern : {"\\w+|\\s", "(x)?(?:\\1|)\\w+|\\s"}) {
    EXPECT_NO_THROW(in_pieces(pattern, "ab ab", 10)) << pattern;
    EXPECT_THROW(in_pieces(pattern, "ab ab", 400'000), StoppedBySignal) << pattern;
  }
  clear_stop_signal();
  EXPECT_NO_THROW(in_pieces("\\w+|\\s", "ab ab", 400'000));
}

// Where case is ignored, some characters are as good as two: no class of single ones.
TEST(Regex, ClassesThatMatchSeveralCharactersAreOnigurumas) {
  for (const char* pattern : {"(?i)[\\w]x", "(?i:[[:alpha:]])", "(?i)\u00dfx", "(?i)[\u00df]", "(?i)ss", "(?i)[^\\W]",
                              "(?i:s(?:s))", "(?i:(?:s)s)", "(?i)(?:x|s)s", "(?i)s(?:s|x)", "(?i:x(?:y|(?:s))(?:s))",
                              "(?i)(?:s|)s", "(?i:f)(?i:i)|ss", "(?i)(s)(s)"}) {
    const std::string text = "a\u00dfxssX \u00df sS \ufb01 fi";
    EXPECT_EQ(found(pattern, text), found_by(Regex::by_oniguruma(pattern, "judge"), text)) << pattern;
  }
  EXPECT_FALSE(Regex("(?i)[\\w]x", "test").is_linear());
  EXPECT_TRUE(Regex("(?i)\\p{L}+", "test").is_linear());
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
