#include "tokenizer/bytes.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {
namespace {

std::vector<nlohmann::json> rows(const std::string& name) {
  std::ifstream file(std::string(LT2_TEST_DATA) + "/vectors/tokenizer/" + name);
  std::vector<nlohmann::json> all;
  for (std::string line; std::getline(file, line);) all.push_back(nlohmann::json::parse(line));
  EXPECT_GT(all.size(), 10u) << name;
  return all;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

// A vocabulary that shows broken bytes the common way, U+FFFD.
class LossyBytes : public BytesTokenizer {
 public:
  std::string text_of_bytes(std::string_view bytes) const override { return Tokenizer::text_of_bytes(bytes); }
};

TEST(BytesTokenizer, EncodesTheBytesAndDecodesThemBack) {
  const BytesTokenizer tokenizer;
  for (const auto& row : rows("bytes/cases.jsonl")) {
    const auto text = row.at("text").get<std::string>();
    const auto ids = row.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text, false, false), ids) << row.at("id");
    EXPECT_EQ(tokenizer.decode(ids), text) << row.at("id");
    EXPECT_EQ(streamed(tokenizer, ids), text) << row.at("id");
  }
}

TEST(BytesTokenizer, DecodesBrokenBytesAsHex) {
  const BytesTokenizer tokenizer;
  for (const auto& row : rows("bytes/decode.jsonl")) {
    const auto ids = row.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.decode(ids), row.at("text").get<std::string>());
    EXPECT_EQ(streamed(tokenizer, ids), row.at("text").get<std::string>());
  }
}

TEST(BytesTokenizer, KeepsInvalidBytes) {
  const BytesTokenizer tokenizer;
  for (const auto& row : rows("invalid_utf8.jsonl")) {
    const std::string bytes = from_hex(row.at("bytes_hex"));
    EXPECT_EQ(tokenizer.encode(bytes, false, false), row.at("bytes").get<std::vector<int32_t>>());
    EXPECT_EQ(replace_invalid_utf8(bytes), row.at("lossy").get<std::string>()) << row.at("bytes_hex");
  }
}

TEST(BytesTokenizer, AddsBosAndEos) {
  const BytesTokenizer tokenizer;
  EXPECT_EQ(tokenizer.encode("a", true, true), (std::vector<int32_t>{256, 97, 257}));
  EXPECT_EQ(tokenizer.encode("", true, false), (std::vector<int32_t>{256}));
  EXPECT_EQ(tokenizer.encode("", false, true), (std::vector<int32_t>{257}));
  EXPECT_TRUE(tokenizer.encode("", false, false).empty());
  EXPECT_EQ(tokenizer.n_words(), 258);
  EXPECT_THROW(tokenizer.decode({-1}), Error);
}

TEST(StreamDecoder, HoldsBackACharacterUntilItIsCertain) {
  const BytesTokenizer tokenizer;
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.push(0x82), "");
  EXPECT_EQ(decoder.push(0xac), "\xe2\x82\xac");
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.push('A'),
            "\\xe2"
            "A");
  EXPECT_EQ(decoder.push(0xff), "\\xff");
  EXPECT_EQ(decoder.push(0xf0), "");
  EXPECT_EQ(decoder.finish(), "\\xf0");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, AddsUpToDecode) {
  const BytesTokenizer bytes;
  const LossyBytes lossy;
  std::mt19937 random(7);
  // Mostly lead and continuation bytes: pure noise rarely comes near a whole character.
  const uint8_t likely[] = {'a', 0x80, 0x9f, 0xa0, 0xbf, 0xc3, 0xe0, 0xe2, 0xed, 0xf0, 0xf4, 0xff};
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<int32_t> ids(random() % 12);
    for (auto& id : ids) id = likely[random() % std::size(likely)];
    EXPECT_EQ(streamed(bytes, ids), bytes.decode(ids));
    EXPECT_EQ(streamed(lossy, ids), lossy.decode(ids));
  }
}

TEST(MakeTokenizer, UnknownNameListsWhatExists) {
  EXPECT_EQ(make_tokenizer("bytes", std::nullopt)->name(), "bytes");
  try {
    make_tokenizer("byte", std::nullopt);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "data.tokenizer.name: no tokenizer \"byte\". Those that exist: bytes, tiktoken, sp, hf.");
  }
}

}  // namespace
}  // namespace lt2
