#include "tokenizer/sentencepiece.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/files.h"
#include "tests/tokenizer/support.h"

namespace lt2 {
namespace {

class SentencePiece : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer("sp", test::vocabulary(GetParam()) + "/tokenizer.model");
};

TEST_P(SentencePiece, StreamsAddUpToDecode) {
  std::mt19937 random(9);
  std::vector<int32_t> often;  // control, unknown, bytes, and pieces that begin with a space
  for (int32_t id = 0; id < 300; ++id) often.push_back(id);
  for (int32_t id = 0; id < tokenizer_->n_words(); ++id)
    if (tokenizer_->token_bytes(id).starts_with(' ')) often.push_back(id);
  for (int trial = 0; trial < 4000; ++trial) {
    std::vector<int32_t> ids(random() % 12);
    for (auto& id : ids) {
      id = static_cast<int32_t>(random() % static_cast<uint32_t>(tokenizer_->n_words()));
      if (random() % 2 == 0) id = often[random() % often.size()];
      if (random() % 8 == 0) id = static_cast<int32_t>(random() % 4);
    }
    ASSERT_EQ(test::streamed(*tokenizer_, ids), tokenizer_->decode(ids)) << ::testing::PrintToString(ids);
  }
}

TEST_P(SentencePiece, AnyTextEncodes) {
  std::mt19937 random(4);
  for (int trial = 0; trial < 200; ++trial) {
    auto text = test::random_text(random, static_cast<size_t>(trial));
    if (trial % 3 == 0) text += "\xff\xe2\x82";
    const auto ids = tokenizer_->encode(text, true, true);
    ASSERT_EQ(ids.front(), tokenizer_->bos_id());
    ASSERT_EQ(ids.back(), tokenizer_->eos_id());
    ASSERT_EQ(test::streamed(*tokenizer_, ids), tokenizer_->decode(ids));
  }
}

TEST_P(SentencePiece, IdsBeyondTheModelAreRefused) {
  const auto id = tokenizer_->n_words();
  EXPECT_NE(test::error_of([&] { tokenizer_->decode({id}); }).find("token id 4000 is not in 0 to 3999"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] { tokenizer_->token_bytes(-1); }), "");
  EXPECT_NE(test::error_of([&] { StreamDecoder(*tokenizer_).push(id); }), "");
  EXPECT_TRUE(tokenizer_->is_special(tokenizer_->bos_id()));
}

INSTANTIATE_TEST_SUITE_P(Models, SentencePiece, ::testing::Values("sp_bpe", "sp_unigram"),
                         [](const auto& i) { return std::string(i.param); });

// Protocol buffers by hand.
std::string field(int number, const std::string& bytes) {
  EXPECT_LT(bytes.size(), 128u);
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}
std::string number(int field_number, int value) {
  std::string key{static_cast<char>(field_number << 3 & 0x7f)};
  if (field_number >= 16)
    key = {static_cast<char>((field_number << 3 & 0x7f) | 0x80), static_cast<char>(field_number >> 4)};
  return key + static_cast<char>(value);
}
enum { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
std::string piece(const std::string& text, float score, int type = kNormal) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &score, 4);
  return field(1, field(1, text) + "\x15" + bytes + number(3, type));
}
enum { kUnigram = 1, kBpe, kWordModel, kChar };
std::string model(int type, const std::string& pieces, const std::string& trainer = "",
                  const std::string& normalizer = "") {
  return piece("<unk>", 0, kUnknown) + piece("<s>", 0, kControl) + pieces + field(2, number(3, type) + trainer) +
         field(3, normalizer);
}
const std::string kPlain = number(3, 0) + number(4, 0);  // no prefix, spaces kept
using Ids = std::vector<int32_t>;

Ids encoded(const std::string& file, const std::string& text) {
  return SentencePieceTokenizer(file, "m").encode(text, false, false);
}

TEST(SentencePieceModel, UnusedPiecesAreTakenApartAgain) {
  const auto pieces = piece("a", -3) + piece("b", -3) + piece("ab", -1, kUnused) + piece("abb", -2);
  EXPECT_EQ(encoded(model(kBpe, pieces, "", kPlain), "abab"), (Ids{2, 3, 2, 3}));
  EXPECT_EQ(encoded(model(kBpe, pieces, "", kPlain), "abb"), (Ids{5}));
  EXPECT_EQ(encoded(model(kUnigram, pieces, "", kPlain), "ababb"), (Ids{2, 3, 5}));
}

TEST(SentencePieceModel, UserDefinedSymbolsAreAtomic) {
  const auto pieces = piece("a", -3) + piece("ab", -1) + piece("b", -3) + piece("ba", -9, kUserDefined);
  EXPECT_EQ(encoded(model(kBpe, pieces, "", kPlain), "abab"), (Ids{2, 5, 4}));
  EXPECT_EQ(encoded(model(kUnigram, pieces, "", kPlain), "aba"), (Ids{2, 5}));
  EXPECT_EQ(encoded(model(kChar, pieces, "", kPlain), "aba<s>"), (Ids{2, 5, 0}));
}

TEST(SentencePieceModel, ARunOfUnknownCharactersIsOneId) {
  for (const int type : {kUnigram, kBpe, kChar}) {
    const auto file = model(type, piece("a", -1), "", kPlain);
    EXPECT_EQ(encoded(file, "a??a?"), (Ids{2, 0, 2, 0}));
    EXPECT_EQ(encoded(file, std::string(1 << 20, '?')), (Ids{0}));
    EXPECT_EQ(encoded(file, std::string(1 << 18, 'a')).size(), 1u << 18);
  }
}

TEST(SentencePieceModel, SpacesFollowTheSettings) {
  const std::string mark = "\xe2\x96\x81";
  const auto pieces = piece("a", -1) + piece(mark, -1) + piece(" ", -1);
  EXPECT_EQ(encoded(model(kUnigram, pieces), " a  a "), (Ids{3, 2, 3, 2}));
  EXPECT_EQ(encoded(model(kUnigram, pieces, "", number(4, 0)), " a  a "), (Ids{3, 3, 2, 3, 3, 2, 3}));
  EXPECT_EQ(encoded(model(kUnigram, pieces, "", kPlain), " a"), (Ids{3, 2}));
  EXPECT_EQ(encoded(model(kUnigram, pieces, "", kPlain + number(5, 0)), " a"), (Ids{4, 2}));
}

// As SentencePiece's library decodes the whole, under every pair of settings. Pieces: 2 a, 3 a lone space, 4 space and
// a, 5 two spaces.
TEST(SentencePieceModel, ATextBeginsWhereTheSettingsSayIt) {
  const std::string mark = "\xe2\x96\x81", unknown = " \xe2\x81\x87 ";
  const auto pieces = piece("a", -1) + piece(mark, -1) + piece(mark + "a", -1) + piece(mark + mark, -1);
  struct Case {
    int prefix, squeeze;
    std::vector<std::string> texts;
  };
  const std::vector<Ids> all = {{3, 4}, {1, 3, 3, 4}, {5, 4}, {3, 0, 4}, {0, 3, 4}, {1, 1, 4, 4}};
  for (const auto& c : std::vector<Case>{
           {1, 1, {"a", "a", "  a", unknown + " a", unknown + "  a", "a a"}},
           {0, 1, {"a", "a", "  a", unknown + " a", unknown + "  a", "a a"}},
           {1, 0, {" a", "  a", "  a", unknown + " a", unknown + "  a", "a a"}},
           {0, 0, {"  a", "   a", "   a", " " + unknown + " a", unknown + "  a", " a a"}},
       }) {
    const SentencePieceTokenizer tokenizer(model(kUnigram, pieces, "", number(3, c.prefix) + number(4, c.squeeze)),
                                           "m");
    for (size_t i = 0; i < all.size(); ++i) {
      const auto what = ::testing::PrintToString(all[i]) + " " + std::to_string(c.prefix) + std::to_string(c.squeeze);
      EXPECT_EQ(tokenizer.decode(all[i]), c.texts[i]) << what;
      bool begun = false;
      std::string bytes;
      for (const int32_t id : all[i]) bytes += tokenizer.next_bytes(id, begun);
      EXPECT_EQ(bytes, c.texts[i]) << what;
      for (size_t at = 0; at <= all[i].size(); ++at) {
        const auto middle = all[i].begin() + static_cast<std::ptrdiff_t>(at);
        const Ids before(all[i].begin(), middle), rest(middle, all[i].end());
        EXPECT_EQ(tokenizer.decode(before) + tokenizer.decode_after(before, rest), c.texts[i]) << what << " at " << at;
      }
    }
  }
}

TEST(SentencePieceFile, HostileModelsAreRefused) {
  const auto refused = [](const std::string& file) {
    return test::error_of([&] { SentencePieceTokenizer(file, "m"); });
  };
  const auto a = piece("a", -1);
  EXPECT_EQ(refused(model(kUnigram, a)), "");
  EXPECT_EQ(refused(model(kUnigram, a + a)), "m: piece 3 \"a\" is there twice");
  EXPECT_EQ(refused(a), "m: no piece of type unknown");
  EXPECT_EQ(refused(model(kUnigram, piece("?", 0, kUnknown))), "m: pieces 0 and 2 are both of type unknown");
  EXPECT_EQ(refused(model(kUnigram, piece("", 0))), "m: piece 2 is empty or no UTF-8");
  EXPECT_EQ(refused(model(kUnigram, piece("\xff", 0))), "m: piece 2 is empty or no UTF-8");
  EXPECT_EQ(refused(model(kUnigram, piece("a", NAN))), "m: piece 2 has no finite score");
  EXPECT_EQ(refused(model(kUnigram, piece("a", 0, 9))), "m: piece 2 has type 9; 1 to 6 are known");
  EXPECT_EQ(refused(model(kUnigram, piece("a", 0, kByte))), "m: piece 2 \"a\" should be a byte <0xNN>");
  EXPECT_EQ(refused(model(kBpe, a, number(35, 1))), "m: byte_fallback needs all 256 byte pieces");
  EXPECT_EQ(refused(model(kWordModel, a)), "m: a word model; only unigram, BPE and character models are supported");
  EXPECT_EQ(refused(model(7, a)), "m: model_type 7; 1 to 4 are known");
  EXPECT_EQ(refused(model(kBpe, a, number(24, 1))), "m: treat_whitespace_as_suffix is not supported");
  EXPECT_EQ(refused(model(kBpe, a, "", field(2, "abc"))), "m: precompiled_charsmap: 3 bytes are no map of characters");
  EXPECT_EQ(refused(model(kBpe, a) + field(5, field(2, "x"))), "m: denormalizer_spec is not supported");
  EXPECT_EQ(refused("\x0a\x7f"), "m: no SentencePiece model: a field is cut off");
  EXPECT_EQ(refused(std::string(20, '\xff')), "m: no SentencePiece model: a number of more than 64 bits");
}

TEST(SentencePieceFile, WhatIsNoModelIsRefused) {
  auto content = read_file(test::vocabulary("sp_bpe/tokenizer.model"));
  for (const auto& broken : {std::string(), std::string("hello"), content.substr(0, content.size() / 2 + 1)}) {
    const auto error = test::error_of([&] { SentencePieceTokenizer(broken, "m.model"); });
    EXPECT_EQ(error.find("m.model: no SentencePiece model: "), 0u) << error;
  }
  EXPECT_EQ(test::error_of([&] { make_tokenizer("sp", std::nullopt); }),
            "data.tokenizer.path must name the tokenizer.model of tokenizer sp; found null");
}

}  // namespace
}  // namespace lt2
