#include "infer/text_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/vocabularies.h"

namespace lt2 {
namespace {

using Ids = std::vector<int32_t>;

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

TEST_F(TextStreamTest, LooksAtBytesAndNotAtHowTheyAreShown) {
  EXPECT_EQ(shown("a\xd2z", {"x"}), std::pair(std::string("a\\xd2z"), false));
  EXPECT_EQ(shown("a\xd2zd2", {"d2"}), std::pair(std::string("a\\xd2z"), true));
  EXPECT_EQ(shown("a\xd2z", {"\xd2"}), std::pair(std::string("a"), true));
  EXPECT_EQ(shown("\xe2\x82\xac", {"\xac"}), std::pair(std::string("\\xe2\\x82"), true));
}

class StreamOf : public ::testing::TestWithParam<test::VocabularyCase> {
 protected:
  struct Out {
    std::string shown;
    Ids kept;
    bool stopped;
  };
  Out streamed(const Ids& ids, const std::vector<std::string>& stops, const Ids& before) const {
    TextStream stream(*tokenizer_, stops, before);
    std::string text;
    for (const int32_t id : ids) text += stream.push(id);
    text += stream.finish();
    return {text, stream.kept(), stream.stopped()};
  }
  // In their context.
  std::string bytes_of(const Ids& ids, const Ids& before) const {
    std::string bytes;
    bool begun = tokenizer_->holds_text(before);
    for (const int32_t id : ids) bytes += tokenizer_->next_bytes(id, begun);
    return bytes;
  }
  Ids random_ids(std::mt19937& random, size_t most) const {
    Ids ids(random() % (most + 1));
    for (auto& id : ids) {
      id = static_cast<int32_t>(random() % static_cast<uint32_t>(random() % 2 ? 300 : tokenizer_->n_words()));
      if (id >= tokenizer_->n_words() || (tokenizer_->is_special(id) && id != tokenizer_->unknown_id())) id = text_[0];
    }
    return ids;
  }
  std::unique_ptr<Tokenizer> tokenizer_ = test::make_vocabulary(GetParam());
  Ids text_ = tokenizer_->encode("the king is", false, false);
};

TEST_P(StreamOf, WithoutAStopTextAllIsShownAndKept) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const auto before = random_ids(random, 3), ids = random_ids(random, 12);
    const auto out = streamed(ids, {"no such text"}, before);
    ASSERT_EQ(out.kept, ids);
    ASSERT_EQ(out.shown, tokenizer_->decode_after(before, ids));
    ASSERT_FALSE(out.stopped);
  }
}

TEST_P(StreamOf, WhatStandsBeforeTheStopTextIsKeptToTheByte) {
  std::mt19937 random(2);
  int inside = 0;
  for (int trial = 0; trial < 600; ++trial) {
    const auto before = random_ids(random, 3);
    auto ids = random_ids(random, 12);
    ids.push_back(text_[0]);
    const auto bytes = bytes_of(ids, before);
    if (bytes.empty()) continue;
    const size_t at = random() % bytes.size(), length = 1 + random() % std::min<size_t>(6, bytes.size() - at);
    const auto stop = bytes.substr(at, length);
    const size_t first = bytes.find(stop);
    const auto out = streamed(ids, {stop}, before);
    ASSERT_TRUE(out.stopped);
    // Whole tokens are kept as they are.
    size_t whole = 0, end = 0;
    for (Ids some; whole < ids.size(); ++whole) {
      some.push_back(ids[whole]);
      const size_t next = bytes_of(some, before).size();
      if (next > first) break;
      end = next;
    }
    ASSERT_GE(out.kept.size(), whole);
    ASSERT_TRUE(std::equal(out.kept.begin(), out.kept.begin() + static_cast<std::ptrdiff_t>(whole), ids.begin()));
    inside += end < first;
    const auto kept = bytes_of(out.kept, before);
    if (GetParam().any_byte || out.kept.size() > whole) {
      ASSERT_EQ(kept, bytes.substr(0, first)) << "stop text at byte " << first;
      ASSERT_EQ(out.shown, tokenizer_->decode_after(before, out.kept));
    } else {
      ASSERT_EQ(kept, bytes.substr(0, end));
    }
  }
  EXPECT_GT(inside, GetParam().name == "bytes" ? -1 : 10) << "no stop text inside a token";
}

TEST_P(StreamOf, TheFirstWordOfAnAnswerIsFoundWithItsSpace) {
  const Ids before = tokenizer_->encode("the king", false, false);
  const auto ids = tokenizer_->encode(" is it", false, false, {.continues = true});
  EXPECT_EQ(streamed(ids, {}, before).shown, " is it");
  const auto out = streamed(ids, {" is"}, before);
  EXPECT_EQ(out.shown, "");
  EXPECT_EQ(out.kept, Ids());
  EXPECT_TRUE(out.stopped);
  // The beginning has no space, so a stop text with one does not match.
  if (GetParam().name == "metaspace_never" || tokenizer_->decode(tokenizer_->encode("is it", false, false)) != "is it")
    return;
  EXPECT_EQ(streamed(tokenizer_->encode("is it", false, false), {" is"}, {}).shown, "is it");
}

// Single spaces and unknown characters at the front: one rule for showing them and for comparing them with stop texts.
TEST_P(StreamOf, WhatIsShownIsWhatStopTextsAreLookedForIn) {
  std::mt19937 random(3);
  static const std::vector<std::string> texts = {" ", "  ", "☃", "the", " is", ""};
  const auto some = [&] {
    Ids ids;
    for (auto count = random() % 4; count > 0; --count) {
      const auto more = tokenizer_->encode(texts[random() % texts.size()], false, false, {.continues = true});
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  };
  for (int trial = 0; trial < 500; ++trial) {
    const auto before = some(), ids = some();
    const auto text = tokenizer_->decode_after(before, ids);
    ASSERT_EQ(bytes_of(ids, before), text);
    for (const std::string stop : {" ", " the", " is"}) {
      const auto out = streamed(ids, {stop}, before);
      ASSERT_EQ(out.stopped, text.find(stop) != std::string::npos) << text;
      if (!out.stopped) {
        ASSERT_EQ(out.shown, text);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, StreamOf, ::testing::ValuesIn(test::vocabulary_cases()),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace lt2
