#include "tokenizer/tiktoken.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <thread>

#include "base/files.h"
#include "base/regex/regex.h"
#include "tests/support/rank_file.h"
#include "tests/tokenizer/support.h"
#include "tokenizer/words.h"

namespace lt2 {
namespace {

using test::rank_file;
using test::rank_line;

TiktokenTokenizer of_tokens(const std::vector<std::string>& tokens, const std::string& specials = "lingua") {
  return TiktokenTokenizer(rank_file(tokens), "test.tiktoken", specials);
}

// The definition, pair by pair.
std::vector<int32_t> merged_by_hand(const std::string& word, const std::vector<std::string>& tokens) {
  std::map<std::string, int32_t> ranks;
  for (int byte = 0; byte < 256; ++byte) ranks[std::string(1, static_cast<char>(byte))] = byte;
  for (size_t i = 0; i < tokens.size(); ++i) ranks[tokens[i]] = static_cast<int32_t>(256 + i);
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  if (ranks.count(word)) parts = {word};
  for (;;) {
    size_t best = parts.size();
    int32_t lowest = INT32_MAX;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found != ranks.end() && found->second < lowest) {
        lowest = found->second;
        best = i;
      }
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> ids;
  for (const auto& part : parts) ids.push_back(ranks.at(part));
  return ids;
}

TEST(Tiktoken, MergingFollowsTheDefinition) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 60; ++trial) {
    std::vector<std::string> tokens;
    for (int i = 0; i < 30; ++i) {
      std::string token(2 + random() % 4, 'a');
      for (char& c : token) c = static_cast<char>('a' + random() % 3);
      if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
    }
    const auto tokenizer = of_tokens(tokens);
    // Around the length where a heap takes over, and far beyond it.
    for (const size_t length : {1, 2, 3, 7, 20, 47, 48, 49, 50, 300}) {
      std::string word(length, 'a');
      for (char& c : word) c = static_cast<char>('a' + random() % 3);
      for (int again = 0; again < 2; ++again)  // the second time from the cache
        ASSERT_EQ(tokenizer.encode(word, false, false), merged_by_hand(word, tokens)) << word;
    }
  }
}

TEST(Tiktoken, ScannersSplitAsTheirPatternsSay) {
  std::mt19937 random(5);
  const std::pair<std::string_view, WordEnd> rules[] = {{kGpt2Pattern, gpt2_word_end},
                                                        {kLlama3Pattern, llama3_word_end}};
  for (const auto& [pattern, word_end] : rules) {
    const Regex regex{std::string(pattern), "test"};
    for (int trial = 0; trial < 3000; ++trial) {
      std::string text;
      // Only characters that no version of Unicode since 6 has moved.
      while (text.size() < trial % 40u) {
        const auto more = test::random_text(random, 1);
        if (more.size() < 4) text += more;
      }
      std::vector<size_t> expected, found;
      regex.each_match(text, [&](size_t, size_t end) { expected.push_back(end); });
      for (size_t at = 0; at < text.size();) found.push_back(at = word_end(text, at));
      ASSERT_EQ(found, expected) << pattern << "\n" << text;
    }
    EXPECT_EQ(word_end_of(pattern), word_end);
  }
  EXPECT_EQ(word_end_of("\\w+"), nullptr);
}

TEST(Tiktoken, EveryTextComesBack) {
  std::mt19937 random(11);
  for (const char* specials : {"lingua", "gpt2"}) {
    const auto file = test::vocabulary("gpt2/gpt2.tiktoken");
    const auto tokenizer = make_tokenizer("tiktoken", file, specials);
    for (int trial = 0; trial < 300; ++trial) {
      const auto text = test::random_text(random, static_cast<size_t>(trial));
      const auto ids = tokenizer->encode(text, false, false);
      ASSERT_EQ(tokenizer->decode(ids), text);
      ASSERT_EQ(test::streamed(*tokenizer, ids), text);
    }
    for (int trial = 0; trial < 300; ++trial) {  // any ids: characters begin and end anywhere
      std::vector<int32_t> ids(random() % 20);
      for (auto& id : ids) id = static_cast<int32_t>(random() % 400);
      ASSERT_EQ(test::streamed(*tokenizer, ids), tokenizer->decode(ids));
    }
  }
}

TEST(Tiktoken, AMegabyteWithoutSpacesIsNothingSpecial) {
  const auto tokenizer = make_tokenizer("tiktoken", test::vocabulary("gpt2/gpt2.tiktoken"));
  std::mt19937 random(1);
  std::string letters(1 << 18, 'a');
  for (char& c : letters) c = static_cast<char>('a' + random() % 26);
  for (const auto& text : {std::string(1 << 20, 'a'), letters, std::string(1 << 20, ' '), std::string(1 << 18, '\'')})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false, false)), text);
}

TEST(Tiktoken, ThreadsGetTheSameIds) {
  const auto tokenizer = make_tokenizer("tiktoken", test::vocabulary("gpt2/gpt2.tiktoken"), "gpt2");
  std::mt19937 random(2);
  std::vector<std::string> texts(200);
  for (auto& text : texts) text = test::random_text(random, 60);
  const auto encode_all = [&](const Tokenizer& with) {
    std::vector<std::vector<int32_t>> ids;
    for (const auto& text : texts) ids.push_back(with.encode(text, false, false));
    return ids;
  };
  std::vector<std::vector<std::vector<int32_t>>> found(4);
  std::vector<std::thread> threads;
  for (auto& ids : found) threads.emplace_back([&] { ids = encode_all(*tokenizer); });
  for (auto& thread : threads) thread.join();
  const auto alone = encode_all(*make_tokenizer("tiktoken", test::vocabulary("gpt2/gpt2.tiktoken"), "gpt2"));
  for (const auto& ids : found) EXPECT_EQ(ids, alone);
}

TEST(Tiktoken, MarksStandBehindTheRanks) {
  const auto lingua = of_tokens({"ab"});
  EXPECT_EQ(lingua.n_words(), 257 + 256);
  EXPECT_EQ(lingua.encode("ab", true, true), (std::vector<int32_t>{257, 256, 258}));
  EXPECT_EQ(lingua.decode({257 + 255, 257 + 4}), "<|fim_suffix|><|reserved_special_token_4|>");
  const auto llama3 = of_tokens({"ab"}, "llama3");
  EXPECT_EQ(llama3.n_words(), 257 + 256);
  EXPECT_EQ(llama3.decode({257 + 9}), "<|eot_id|>");
  EXPECT_EQ(llama3.decode({257 + 2, 257 + 3, 257 + 5}),
            "<|reserved_special_token_0|><|reserved_special_token_1|><|reserved_special_token_2|>");
  EXPECT_EQ(llama3.decode({257 + 255}), "<|reserved_special_token_247|>");
  const auto gpt2 = of_tokens({}, "gpt2");
  EXPECT_EQ(gpt2.n_words(), 257);
  EXPECT_EQ(gpt2.bos_id(), 256);
  EXPECT_EQ(gpt2.eos_id(), 256);
  const auto cl100k = of_tokens({}, "cl100k");
  EXPECT_EQ(cl100k.n_words(), 256 + 21);
  EXPECT_EQ(cl100k.decode({256, 276}), "<|endofprompt|>");  // 256 is unused
  EXPECT_TRUE(lingua.is_special(300));
  EXPECT_FALSE(lingua.is_special(256));
  EXPECT_EQ(test::error_of([&] { lingua.decode({513}); }), "test.tiktoken: token id 513 is not in 0 to 512");
  EXPECT_EQ(test::error_of([&] { lingua.decode({-1}); }), "test.tiktoken: token id -1 is not in 0 to 512");
  EXPECT_EQ(test::error_of([&] { of_tokens({}, "mistral"); }),
            "data.tokenizer.specials: \"mistral\" is none of lingua, llama3, cl100k, gpt2");
}

TEST(Tiktoken, SpecialsAreTextUnlessAskedFor) {
  const auto tokenizer = of_tokens({}, "llama3");
  const std::string text = "a<|eot_id|><|begin_of_text|>  <|eot_id>";
  EXPECT_EQ(tokenizer.encode(text, false, false).size(), text.size());
  const auto ids = tokenizer.encode(text, true, false, {.specials = true});
  EXPECT_EQ(ids.size(), 1 + 1 + 1 + 1 + 2 + std::string("<|eot_id>").size());
  EXPECT_EQ(std::vector<int32_t>(ids.begin(), ids.begin() + 4), (std::vector<int32_t>{256, 'a', 256 + 9, 256}));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>(ids.begin() + 1, ids.end())), text);
}

TEST(Tiktoken, LongTextsAreCutAtCodePoints) {
  // The 400,000th character is the first of a pair that would merge.
  const auto tokenizer = of_tokens({"\xc3\xa9\xc3\xa9", "\xc3\xa9"});
  std::string text;
  for (int i = 0; i < 400'001; ++i) text += "\xc3\xa9";
  const auto ids = tokenizer.encode(text, false, false);
  EXPECT_EQ(ids.size(), 200'001u);
  EXPECT_EQ(ids.back(), 257);
  EXPECT_EQ(tokenizer.decode(ids), text);
}

TEST(Tiktoken, HostileFilesAreRefusedWithTheirLine) {
  const auto refused = [](const std::string& file) {
    return test::error_of([&] { TiktokenTokenizer(file, "f", "lingua"); });
  };
  const auto good = rank_file({});
  EXPECT_EQ(refused(""), "f: empty; a rank file has a line \"BASE64 RANK\" for each token");
  EXPECT_EQ(refused("IQ==\n"), "f:1: expected \"BASE64 RANK\", found \"IQ==\"");
  EXPECT_EQ(refused(good + "YWI 256\n"), "f:257: \"YWI\" is not base64; is the file complete?");
  EXPECT_EQ(refused(good + "Y=I= 256\n"), "f:257: \"Y=I=\" is not base64; is the file complete?");
  EXPECT_EQ(refused(good + "YWI= \n"), "f:257: rank \"\" is not a number");
  EXPECT_EQ(refused(good + "YWI= -3\n"), "f:257: rank \"-3\" is not a number");
  EXPECT_EQ(refused(good + "YWI= 99999999999999999999999\n"),
            "f:257: rank \"99999999999999999999999\" is not a number");
  EXPECT_EQ(refused(good + "YWI= 18446744073709551615\n"),
            "f:257: rank 18446744073709551615 in a file of 257 tokens; ranks are 0 to 256, each once");
  EXPECT_EQ(refused(good + "YWI= 257\n"), "f:257: rank 257 in a file of 257 tokens; ranks are 0 to 256, each once");
  EXPECT_EQ(refused(good + "YWI= 255\n"), "f:257: rank 255 is there twice");
  EXPECT_EQ(refused(good + rank_line("A", 256)), "f: rank 256 has the bytes of rank 65; each token is there once");
  EXPECT_EQ(refused(rank_line("ab", 0)), "f: no token for the single byte 0x00; all 256 must be there");
  EXPECT_EQ(refused(good + " 256\n"), "f:257: \"\" is not base64; is the file complete?");
  EXPECT_EQ(refused(good + rank_line(std::string(5000, 'a'), 256)),
            "f:257: a token of 5000 bytes; 1 to 4096 are possible");
  EXPECT_EQ(refused(good + "\n\n" + rank_line("ab", 256)), "f:257: expected \"BASE64 RANK\", found \"\"");
  EXPECT_EQ(refused(good + "\r\n\n"), "");  // line ends of Windows and empty lines at the end do no harm
}

}  // namespace
}  // namespace lt2
