// Text that goes on from other text, and text that spells special tokens, in every kind of vocabulary.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>

#include "base/signals.h"
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

// Tokens that vocabularies treat differently where a text begins, in random order: lone spaces, several, the unknown
// token, bytes, marks if `marks`.
Ids random_tokens(const Tokenizer& tokenizer, std::mt19937& random, size_t most, bool marks) {
  static const std::vector<std::string> texts = {" ", "  ", "the", " the", "☃", "你好", "k ", "\n", ""};
  Ids ids;
  while (ids.size() < most) {
    const auto& text = texts[random() % texts.size()];
    const auto more = tokenizer.encode(text, false, false, {.continues = random() % 2 == 0});
    ids.insert(ids.end(), more.begin(), more.end());
    if (random() % 4 == 0 && tokenizer.unknown_id() >= 0) ids.push_back(tokenizer.unknown_id());
    if (random() % 4 == 0 && marks && tokenizer.bos_id() >= 0) ids.push_back(tokenizer.bos_id());
    if (random() % 4 == 0) ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(tokenizer.n_words())));
    std::erase_if(ids, [&](int32_t id) {
      return tokenizer.is_special(id) && id != tokenizer.unknown_id() && !(marks && id == tokenizer.bos_id());
    });
  }
  ids.resize(random() % (most + 1));
  return ids;
}

// The small vocabularies have bytes for all characters; these have none.
std::vector<test::VocabularyCase> cases_with_unknown_characters() {
  auto cases = test::vocabulary_cases();
  for (size_t i = 0, count = cases.size(); i < count; ++i) {
    if (cases[i].json.is_null()) continue;
    auto c = cases[i];
    c.name += "_unknown";
    c.json["model"]["byte_fallback"] = false;
    cases.push_back(std::move(c));
  }
  return cases;
}

// One notion of where a text begins: what goes on from some tokens is the whole without the text of these.
TEST_P(Continuing, AnyTokensGoOnFromThoseBeforeThem) {
  std::mt19937 random(6);
  int unknown = 0, begun = 0, compared = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    const auto before = random_tokens(*tokenizer_, random, 4, false);
    const auto rest = random_tokens(*tokenizer_, random, 6, false);
    const auto first = tokenizer_->decode(before), whole = tokenizer_->decode(joined(before, rest));
    unknown += std::find(before.begin(), before.end(), tokenizer_->unknown_id()) != before.end();
    begun += tokenizer_->holds_text(before);
    // What is cut inside a run of bytes may read as another text in each part.
    const auto is_broken = [](const std::string& text) {
      return text.find("\xef\xbf\xbd") != std::string::npos || text.find("\\x") != std::string::npos;
    };
    if (is_broken(first) || is_broken(whole)) continue;
    ++compared;
    ASSERT_EQ(tokenizer_->decode_after(before, rest), whole.substr(first.size()))
        << ::testing::PrintToString(before) << ::testing::PrintToString(rest);
    if (!first.empty()) {
      ASSERT_TRUE(tokenizer_->holds_text(before)) << ::testing::PrintToString(before);
    }
    // Marks in front change nothing.
    if (tokenizer_->bos_id() < 0) continue;
    const auto marked = joined({tokenizer_->bos_id()}, before);
    ASSERT_EQ(tokenizer_->holds_text(marked), tokenizer_->holds_text(before));
    ASSERT_EQ(tokenizer_->decode_after(marked, rest), whole.substr(first.size()));
  }
  EXPECT_GT(begun, 1000);
  EXPECT_GT(compared, 1000);
  EXPECT_TRUE(unknown > 200 || tokenizer_->unknown_id() < 0) << unknown;
}

// Stop texts are looked for in bytes, and tokens are listed by theirs.
TEST_P(Continuing, BytesOfAnyTokensAreTheirText) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 3000; ++trial) {
    const auto before = random_tokens(*tokenizer_, random, 3, true), rest = random_tokens(*tokenizer_, random, 6, true);
    bool begun = tokenizer_->holds_text(before);
    std::string bytes;
    for (const int32_t id : rest) bytes += tokenizer_->next_bytes(id, begun);
    if (count_invalid_utf8(bytes) > 0) continue;
    ASSERT_EQ(bytes, tokenizer_->decode_after(before, rest))
        << ::testing::PrintToString(before) << ::testing::PrintToString(rest);
  }
}

TEST_P(Continuing, AnAnswerKeepsItsFirstSpaceBehindAnyPrompt) {
  for (const std::string prompt : {"☃", "你好", "a☃", "☃a", "hello", "你 好"}) {
    const auto ids = tokenizer_->encode(prompt, tokenizer_->bos_id() >= 0, false);
    // A tokenizer.json may leave out what it does not know.
    if (tokenizer_->decode(ids).empty()) continue;
    ASSERT_TRUE(tokenizer_->holds_text(ids)) << prompt;
    const auto answer = tokenizer_->encode(" the king", false, false, {.continues = true});
    ASSERT_EQ(tokenizer_->decode_after(ids, answer), " the king") << prompt;
  }
}

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
    const bool begun = tokenizer_->holds_text(begin);
    ASSERT_TRUE(begun || tokenizer_->decode(begin).empty());
    // A mark in front begins no text.
    if (tokenizer_->bos_id() < 0) continue;
    begin.insert(begin.begin(), tokenizer_->bos_id());
    ASSERT_EQ(tokenizer_->decode_after(begin, rest),
              tokenizer_->decode_after(Ids(begin.begin() + 1, begin.end()), rest));
    ASSERT_EQ(tokenizer_->holds_text(begin), begun);
  }
}

TEST_P(Continuing, BytesOfTokensAreThoseOfTheText) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 200; ++trial) {
    const auto ids = tokenizer_->encode(random_words(random), false, false);
    std::string bytes;
    bool begun = false;
    for (const int32_t id : ids) bytes += tokenizer_->next_bytes(id, begun);
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

INSTANTIATE_TEST_SUITE_P(Vocabularies, Continuing, ::testing::ValuesIn(cases_with_unknown_characters()),
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

// Whatever the vocabulary does with a long text, it ends at a signal; a short one is encoded as it is.
TEST_P(Continuing, ALongTextEndsAtASignal) {
  std::string text = "The king is dead. ";
  const auto brief = tokenizer_->encode(text, false, false);
  while (text.size() < 4'000'000) text += text;
  clear_stop_signal();
  catch_stop_signals();
  ::raise(SIGTERM);
  EXPECT_EQ(tokenizer_->encode("The king is dead. ", false, false), brief);
  if (GetParam().kind == "bytes") {
    EXPECT_EQ(tokenizer_->encode(text, false, false).size(), text.size());
  } else {
    EXPECT_THROW(tokenizer_->encode(text, false, false), StoppedBySignal);
  }
  clear_stop_signal();
}

}  // namespace
}  // namespace lt2
