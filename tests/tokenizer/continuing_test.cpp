// Text that goes on from other text, and text that spells special tokens, in every kind of vocabulary.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/vocabularies.h"
#include "tests/tokenizer/support.h"
#include "tokenizer/hf.h"

namespace lt2 {
namespace {

using Ids = std::vector<int32_t>;

Ids joined(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Words of small letters with single spaces between, none at the ends: no vocabulary here changes them.
std::string random_words(std::mt19937& random) {
  static const std::vector<std::string> words = {"the", "king", "is", "kingis", "a", "xyz", "thethe", "on"};
  std::string text = words[random() % words.size()];
  for (auto count = random() % 6; count > 0; --count) text += " " + words[random() % words.size()];
  return text;
}

class Continuing : public ::testing::TestWithParam<test::VocabularyCase> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = test::make_vocabulary(GetParam());
};

TEST_P(Continuing, EncodedPartsDecodeToTheWholeText) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 500; ++trial) {
    const auto text = random_words(random);
    const size_t at = 1 + random() % text.size();
    const auto begin = tokenizer_->encode(text.substr(0, at), false, false);
    const auto rest = tokenizer_->encode(text.substr(at), false, false, {.continues = true});
    ASSERT_EQ(tokenizer_->decode(joined(begin, rest)), tokenizer_->decode(begin) + text.substr(at))
        << text << " in two at " << at;
    ASSERT_EQ(tokenizer_->decode_after(begin, rest), text.substr(at)) << text << " in two at " << at;
  }
  EXPECT_TRUE(tokenizer_->encode("", false, false, {.continues = true}).empty());
}

TEST_P(Continuing, DecodedPartsAddUpToTheWholeText) {
  std::mt19937 random(4);
  for (int trial = 0; trial < 500; ++trial) {
    const auto ids = tokenizer_->encode(random_words(random), false, false);
    const auto at = static_cast<std::ptrdiff_t>(random() % (ids.size() + 1));
    Ids begin(ids.begin(), ids.begin() + at);
    const Ids rest(ids.begin() + at, ids.end());
    ASSERT_EQ(tokenizer_->decode(begin) + tokenizer_->decode_after(begin, rest), tokenizer_->decode(ids));
    ASSERT_EQ(tokenizer_->holds_text(begin), !begin.empty());
    // A mark in front begins no text.
    if (tokenizer_->bos_id() < 0) continue;
    begin.insert(begin.begin(), tokenizer_->bos_id());
    ASSERT_EQ(tokenizer_->decode_after(begin, rest),
              tokenizer_->decode_after(Ids(begin.begin() + 1, begin.end()), rest));
    ASSERT_EQ(tokenizer_->holds_text(begin), at > 0);
  }
}

TEST_P(Continuing, BytesOfTokensAreThoseOfTheText) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 200; ++trial) {
    const auto ids = tokenizer_->encode(random_words(random), false, false);
    std::string bytes = tokenizer_->first_bytes(ids[0]);
    for (size_t i = 1; i < ids.size(); ++i) bytes += tokenizer_->token_bytes(ids[i]);
    ASSERT_EQ(bytes, tokenizer_->decode(ids));
  }
}

TEST_P(Continuing, TextBecomesASpecialTokenOnlyWhereThatIsAskedFor) {
  std::string text = "a";
  Ids marks;
  for (const char* name : {"<s>", "</s>", "<pad>", "<ctl>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
    text += name + std::string("b");
    const auto id = tokenizer_->mark_id(name);
    if (id >= 0 && tokenizer_->is_special(id)) marks.push_back(id);
  }
  ASSERT_EQ(marks.empty(), tokenizer_->name() == "bytes");
  const auto found = [&](const TextReading& how) {
    auto ids = tokenizer_->encode(text, false, false, how);
    std::erase_if(ids, [&](int32_t id) { return std::find(marks.begin(), marks.end(), id) == marks.end(); });
    return ids;
  };
  EXPECT_EQ(found({}), Ids());
  EXPECT_EQ(found({.continues = true}), Ids());
  EXPECT_EQ(found({.specials = true}), marks);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Continuing, ::testing::ValuesIn(test::vocabulary_cases()),
                         [](const auto& i) { return i.param.name; });

TEST(ContinuingText, KeepsItsFirstSpace) {
  for (const auto& c : test::vocabulary_cases()) {
    const auto tokenizer = test::make_vocabulary(c);
    const auto king = tokenizer->encode("the ki", tokenizer->bos_id() >= 0, false);
    const auto after = [&](const std::string& text) {
      return tokenizer->decode_after(king, tokenizer->encode(text, false, false, {.continues = true}));
    };
    EXPECT_EQ(after("ng is"), "ng is") << c.name;
    EXPECT_EQ(after(" is"), " is") << c.name;
  }
}

TEST(ContinuingText, AByteLevelPrefixSpaceStandsAtTheBeginningAlone) {
  auto file = nlohmann::json::parse(R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},
      "decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"Ġ":0,"a":1,"b":2},"merges":[]}})");
  const HfTokenizer tokenizer(file.dump(), "t.json", {});
  EXPECT_EQ(tokenizer.encode("ab a", false, false), (Ids{0, 1, 2, 0, 1}));
  EXPECT_EQ(tokenizer.encode("ab a", false, false, {.continues = true}), (Ids{1, 2, 0, 1}));
  EXPECT_EQ(tokenizer.encode(" ab", false, false, {.continues = true}), (Ids{0, 1, 2}));
}

TEST(ContinuingText, NormalizersLeaveItsFirstSpaces) {
  auto file = nlohmann::json::parse(R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"Strip"},
      {"type":"Prepend","prepend":"_"}]},"model":{"type":"BPE","vocab":{"_":0,"a":1," ":2},"merges":[]}})");
  const HfTokenizer tokenizer(file.dump(), "t.json", {});
  EXPECT_EQ(tokenizer.encode(" a ", false, false), (Ids{0, 1}));
  EXPECT_EQ(tokenizer.encode(" a ", false, false, {.continues = true}), (Ids{2, 1}));
}

// What an added token is for is the file's to say: one that is no mark is a word like others, in any text.
TEST(AddedTokens, ThoseThatAreNoMarksAreReadInAnyText) {
  auto file = nlohmann::json::parse(R"({"added_tokens":[{"id":2,"content":"<think>","special":false},
      {"id":3,"content":"<think>more","special":true},{"id":4,"content":"<end>","special":false}],
      "model":{"type":"BPE","vocab":{"a":0,"<":1,"<end>":4},"merges":[],"ignore_merges":true}})");
  EXPECT_EQ(HfTokenizer(file.dump(), "t.json", {}).encode("a<think>morea<end>", false, false), (Ids{0, 2, 0, 4}));
  // BOS, EOS and padding are marks, whatever the list says of them, also where merging could make them of a whole
  // piece.
  const HfTokenizer ends(file.dump(), "t.json", {.config = R"({"eos_token":"<end>"})", .special_tokens = ""});
  EXPECT_EQ(ends.encode("a<think><end>", false, false), (Ids{0, 2, 1}));
  EXPECT_EQ(ends.encode("<end>", false, false), (Ids{1}));
  EXPECT_EQ(ends.encode("a<end>", false, false, {.specials = true}), (Ids{0, 4}));
}

}  // namespace
}  // namespace lt2
