#include "tokenizer/hf.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "tests/support/temp_folder.h"
#include "tests/tokenizer/support.h"
#include "tokenizer/charsmap.h"

namespace lt2 {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

json parsed(const char* text) { return json::parse(text); }

std::vector<std::string> split(const char* pre_tokenizer, const std::string& text) {
  const auto document = parsed(pre_tokenizer);
  const auto stages = make_pre_tokenizers(JsonField(document, "t"));
  Pieces pieces;
  pieces.text = text;
  pieces.ranges = {{0, text.size()}};
  for (const auto& stage : stages.stages) stage->apply(pieces);
  std::vector<std::string> out;
  for (size_t i = 0; i < pieces.ranges.size(); ++i) out.emplace_back(pieces[i]);
  return out;
}

std::string normalized(const char* normalizer, const std::string& text) {
  const auto document = parsed(normalizer);
  return make_normalizer(JsonField(document, "t"))->apply(text);
}

std::string decoded(const char* decoder, const std::vector<std::string>& tokens) {
  const auto document = parsed(decoder);
  const HfDecoder hf{JsonField(document, "t")};
  const auto run = hf.start();
  std::string text;
  for (const auto& token : tokens) text += run->push(token);
  return text + run->finish();
}

using Words = std::vector<std::string>;

TEST(HfPreTokenizer, SplitBehaviours) {
  const auto dashes = [](const char* behavior, bool invert = false) {
    const auto stage =
        fmt::format(R"({{"type":"Split","pattern":{{"String":"-"}},"behavior":"{}","invert":{}}})", behavior, invert);
    return split(stage.c_str(), "the-final--countdown");
  };
  EXPECT_EQ(dashes("Removed"), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(dashes("Isolated"), (Words{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(dashes("MergedWithPrevious"), (Words{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(dashes("MergedWithNext"), (Words{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(dashes("Contiguous"), (Words{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(dashes("Removed", true), (Words{"-", "-", "-"}));
  EXPECT_EQ(split(R"({"type":"Split","pattern":{"Regex":"\\s+"},"behavior":"Removed"})",
                  "a  b\xc2\xa0"
                  "c"),
            (Words{"a", "b", "c"}));
  EXPECT_EQ(split(R"({"type":"Split","pattern":{"Regex":"x*"},"behavior":"Isolated"})", "a\xc3\xa9xx"),
            (Words{"a", "\xc3\xa9", "xx"}));  // empty matches cut between characters, never inside
}

TEST(HfPreTokenizer, OtherKinds) {
  EXPECT_EQ(split(R"({"type":"Digits","individual_digits":true})", "a12 \xc2\xbd"),
            (Words{"a", "1", "2", " ", "\xc2\xbd"}));
  EXPECT_EQ(split(R"({"type":"Digits"})", "a12 3"), (Words{"a", "12", " ", "3"}));
  EXPECT_EQ(split(R"({"type":"Whitespace"})", " Hey, you_2!?  ok"), (Words{"Hey", ",", "you_2", "!?", "ok"}));
  EXPECT_EQ(split(R"({"type":"WhitespaceSplit"})", " Hey, you!\n"), (Words{"Hey,", "you!"}));
  EXPECT_EQ(split(R"({"type":"Punctuation"})", "Hey, you$_"), (Words{"Hey", ",", " you", "$", "_"}));
  const std::string mark = "\xe2\x96\x81";
  EXPECT_EQ(split(R"({"type":"Metaspace","replacement":"▁","add_prefix_space":true})", "a  b"),
            (Words{mark + "a", mark, mark + "b"}));
  EXPECT_EQ(split(R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false})", "a b"),
            (Words{"a" + mark + "b"}));
  EXPECT_EQ(split(R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"first"})", " a"), (Words{mark + "a"}));
  EXPECT_EQ(split(R"({"type":"ByteLevel"})", "Hi you's"), (Words{" Hi", " you", "'s"}));
  EXPECT_EQ(
      split(R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false},{"type":"Digits"}]})",
            "a b1"),
      (Words{"a",
             "\xc4\xa0"
             "b",
             "1"}));
}

TEST(HfNormalizer, Kinds) {
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":true,"strip_right":false})", "\xe3\x80\x80 a "), "a ");
  EXPECT_EQ(normalized(R"({"type":"Strip"})", " \n "), "");
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"String":"aa"},"content":"b"})", "aaaaa"), "bba");
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"Regex":"[0-9]+"},"content":"#"})", "a12b3"), "a#b#");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"_"})", "a"), "_a");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"_"})", ""), "");
  EXPECT_EQ(
      normalized(R"({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]})",
                 "\xc3\x89"),
      "e");
  EXPECT_NE(test::error_of([] {
              normalized(R"({"type":"Sequence","normalizers":[
                {"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
                {"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
                {"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}]})",
                         "aaaaaaaa");
            }).find("64-fold"),
            std::string::npos);
}

TEST(HfNormalizer, PrecompiledReplacesTheLongestKey) {
  // Rules of SentencePiece's nmt_nfkc, cut out of a model: its fi ligature, full-width letters, joined accents.
  const auto model = read_file(test::vocabulary("sp_unigram/tokenizer.model"));
  const size_t name = model.find("nmt_nfkc");
  ASSERT_NE(name, std::string::npos);
  size_t at = name + 8;
  ASSERT_EQ(model[at++], '\x12');  // field 2, bytes
  size_t bytes = 0;
  for (int shift = 0;; shift += 7) {
    bytes |= static_cast<size_t>(model[at] & 0x7f) << shift;
    if (!(model[at++] & 0x80)) break;
  }
  const Charsmap map(std::string_view(model).substr(at, bytes), "t");
  EXPECT_EQ(map.apply("\xef\xac\x81\xef\xbc\xa1 e\xcc\x81z"), "fiA \xc3\xa9z");
  EXPECT_EQ(map.apply("\xe2\x84\xab\t"), "\xc3\x85 ");
  EXPECT_NE(test::error_of([] { Charsmap("abc", "t"); }), "");
  EXPECT_NE(test::error_of([] { Charsmap(std::string("\xff\xff\xff\xff", 4), "t"); }), "");
}

TEST(HfDecoder, Chains) {
  const std::string mark = "\xe2\x96\x81";
  const char* llama2 = R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},
    {"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";
  EXPECT_EQ(decoded(llama2, {mark + "a", mark + mark + "b", "<0xE2>", "<0x82>", "<0xAC>", "c"}),
            "a  b\xe2\x82\xac"
            "c");
  EXPECT_EQ(decoded(llama2, {"<0xE2>", "<0x82>", "c"}),
            "\xef\xbf\xbd\xef\xbf\xbd"
            "c");
  EXPECT_EQ(decoded(llama2, {mark, mark + "a"}), " a");
  EXPECT_EQ(decoded(R"({"type":"Metaspace","replacement":"▁","add_prefix_space":true})", {mark + "a", mark + "b"}),
            "a b");
  EXPECT_EQ(decoded(R"({"type":"ByteLevel"})", {"a\xc4\xa0", "x y"}), "a x y");
  EXPECT_EQ(decoded(R"({"type":"Strip","content":"_","start":1,"stop":2})", {"__a___", "_"}), "_a_");
  EXPECT_EQ(
      decoded(R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":"_","start":0,"stop":1}]})",
              {"a_", "_"}),
      "a_");
  EXPECT_EQ(
      decoded(
          R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Replace","pattern":{"String":"ab"},"content":"x"}]})",
          {"a", "b"}),
      "x");
}

// Letters, and what the test adds.
json letters() {
  auto j = parsed(R"({"added_tokens":[],"model":{"type":"BPE","vocab":{},"merges":[]}})");
  for (int c = 0; c < 26; ++c) j["model"]["vocab"][std::string(1, static_cast<char>('a' + c))] = c;
  return j;
}
std::vector<int32_t> encoded(const json& j, const std::string& text) {
  return HfTokenizer(j.dump(), "t.json", {}).encode(text, false, false);
}
using Ids = std::vector<int32_t>;

TEST(HfModel, MergesPairsNotConcatenations) {
  auto j = letters();
  auto& model = j["model"];
  model["vocab"].update(json{{"ab", 26}, {"bc", 27}, {"abc", 28}});
  model["merges"] = {"a b", "ab c"};
  EXPECT_EQ(encoded(j, "abc"), (Ids{28}));
  model["merges"] = {"b c", "a b", "ab c"};
  EXPECT_EQ(encoded(j, "abc"), (Ids{0, 27}));  // a and bc have no merge, though abc is a token
  model["merges"] = json::array({json::array({"a", "b"}), json::array({"b", "c"})});
  EXPECT_EQ(encoded(j, "abcbc"), (Ids{26, 2, 27}));
  EXPECT_EQ(encoded(j, "abc"), (Ids{26, 2}));
  model["ignore_merges"] = true;
  EXPECT_EQ(encoded(j, "abc"), (Ids{28}));
  EXPECT_EQ(encoded(j, std::string(300, 'a') + "bc").size(), 301u);
}

TEST(HfModel, UnknownCharacters) {
  auto j = letters();
  EXPECT_EQ(encoded(j, "a??b"), (Ids{0, 1}));
  j["model"]["vocab"]["<unk>"] = 26;
  j["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(encoded(j, "a??b?"), (Ids{0, 26, 26, 1, 26}));
  j["model"]["fuse_unk"] = true;
  EXPECT_EQ(encoded(j, "a??b?"), (Ids{0, 26, 1, 26}));
  j["model"]["byte_fallback"] = true;
  j["model"]["vocab"]["<0x3F>"] = 27;
  EXPECT_EQ(encoded(j, "?!?"), (Ids{27, 26, 27}));
}

TEST(HfAddedTokens, Flags) {
  const auto with = [](const json& flags, const std::string& text) {
    auto j = letters();
    j["model"]["vocab"].update(json{{" ", 26}, {"_", 27}});
    json token = {{"id", 30}, {"content", "ab"}};
    token.update(flags);
    j["added_tokens"] = {token};
    return encoded(j, text);
  };
  EXPECT_EQ(with(json::object(), "cabd"), (Ids{2, 30, 3}));
  EXPECT_EQ(with({{"single_word", true}}, "cab ab_ ab"), (Ids{2, 0, 1, 26, 0, 1, 27, 26, 30}));
  EXPECT_EQ(with({{"lstrip", true}}, "c  ab ab"), (Ids{2, 30, 30}));
  EXPECT_EQ(with({{"rstrip", true}}, "ab  ab d"), (Ids{30, 30, 3}));
  EXPECT_EQ(with({{"lstrip", true}, {"rstrip", true}}, " ab  ab "), (Ids{30, 30}));
}

TEST(HfAddedTokens, NormalizedOnesMatchTheNormalizedText) {
  auto j = letters();
  j["normalizer"] = {{"type", "Lowercase"}};
  j["added_tokens"] = {{{"id", 30}, {"content", "AB"}, {"normalized", true}},
                       {{"id", 31}, {"content", "ABC"}, {"normalized", false}},
                       {{"id", 32}, {"content", "ABCD"}, {"normalized", true}, {"special", true}}};
  EXPECT_EQ(encoded(j, "xABCab"), (Ids{23, 31, 30}));
  const HfTokenizer tokenizer(j.dump(), "t.json", {});
  EXPECT_EQ(tokenizer.encode("abcD", false, false, {.specials = true}), (Ids{32}));
  EXPECT_EQ(tokenizer.encode("abcD", false, false), (Ids{30, 2, 3}));  // it is special
  EXPECT_TRUE(tokenizer.is_special(32));
  EXPECT_FALSE(tokenizer.is_special(30));
  EXPECT_EQ(tokenizer.n_words(), 33);
  EXPECT_EQ(tokenizer.token_bytes(28), "");  // an id left out
}

TEST(HfTokenizerFile, MarksComeFromTheFilesBeside) {
  const test::TempFolder temporary;
  const fs::path& folder = temporary.path();
  std::ofstream(folder / "tokenizer.json") << letters().dump();
  const auto file = (folder / "tokenizer.json").string();
  const auto bare = make_tokenizer("hf", file);
  EXPECT_EQ(bare->bos_id(), -1);
  EXPECT_EQ(test::error_of([&] { bare->encode("a", true, false); }),
            file + ": this vocabulary names no BOS token; leave BOS out (data.add_bos=false)");
  std::ofstream(folder / "tokenizer_config.json")
      << R"({"bos_token": {"content": "a"}, "eos_token": null, "pad_token": "c"})";
  std::ofstream(folder / "special_tokens_map.json") << R"({"bos_token": "z", "eos_token": "b"})";
  for (const auto& path : {file, folder.string()}) {
    const auto tokenizer = make_tokenizer("hf", path);
    EXPECT_EQ(tokenizer->encode("x", true, true), (Ids{0, 23, 1}));
    EXPECT_EQ(tokenizer->pad_id(), 2);
  }
  std::ofstream(folder / "tokenizer_config.json") << R"({"bos_token": "missing"})";
  EXPECT_EQ(test::error_of([&] { make_tokenizer("hf", file); }),
            (folder / "tokenizer_config.json").string() + ": bos_token: \"missing\" is not in " + file);
  // Padding is never written here, so a mark that is not there is no obstacle.
  std::ofstream(folder / "tokenizer_config.json") << R"({"bos_token": "a", "pad_token": "missing"})";
  EXPECT_EQ(make_tokenizer("hf", file)->pad_id(), -1);
  const auto llama3 = make_tokenizer("hf", test::vocabulary("llama3_style/tokenizer.json"));
  EXPECT_EQ(llama3->bos_id(), 16006);  // its template's
}

TEST(HfTokenizerFile, TextsComeBackAndStreamsAddUp) {
  auto llama2 = parsed(R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
    {"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
    "model":{"type":"BPE","vocab":{"<unk>":0,"▁":1,"a":2,"▁a":3},"merges":["▁ a"],"byte_fallback":true,"unk_token":"<unk>"},
    "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},
    {"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}})");
  for (int byte = 0; byte < 256; ++byte) llama2["model"]["vocab"][fmt::format("<0x{:02X}>", byte)] = 4 + byte;
  std::vector<std::unique_ptr<Tokenizer>> all;
  all.push_back(make_tokenizer("hf", test::vocabulary("smollm2_style/tokenizer.json")));
  all.push_back(make_tokenizer("hf", test::vocabulary("llama3_style/tokenizer.json")));
  all.push_back(std::make_unique<HfTokenizer>(llama2.dump(), "llama2.json", HfTokenizer::Companions{}));
  std::mt19937 random(6);
  for (const auto& tokenizer : all) {
    for (int trial = 0; trial < 200; ++trial) {
      std::string text = test::random_text(random, static_cast<size_t>(trial));
      // A mark of its own in the text is a space afterwards.
      for (size_t at; (at = text.find("\xe2\x96\x81")) != std::string::npos;) text.erase(at, 3);
      const auto ids = tokenizer->encode(text, false, false);
      ASSERT_EQ(tokenizer->decode(ids), text);
      ASSERT_EQ(test::streamed(*tokenizer, ids), text);
    }
    for (int trial = 0; trial < 1000; ++trial) {
      Ids ids(random() % 10);
      for (auto& id : ids)
        id = static_cast<int32_t>(random() % static_cast<uint32_t>(std::min(tokenizer->n_words(), 400)));
      ASSERT_EQ(test::streamed(*tokenizer, ids), tokenizer->decode(ids));
    }
  }
}

struct Hostile {
  const char* name;
  const char* file;
  const char* error;  // behind "t.json: "
};
std::ostream& operator<<(std::ostream& stream, const Hostile& c) { return stream << c.name; }
class HostileTokenizerJson : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileTokenizerJson, IsRefusedNamingTheField) {
  const auto error = test::error_of([&] { HfTokenizer(GetParam().file, "t.json", {}).encode("hello", false, false); });
  EXPECT_EQ(error.substr(0, 8 + std::string(GetParam().error).size()), std::string("t.json: ") + GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Files, HostileTokenizerJson,
    ::testing::Values(
        Hostile{"empty", "", "no JSON: "}, Hostile{"list", "[]", "expected an object, found array"},
        Hostile{"cut_off", R"({"model":{"vocab":{"a":)", "no JSON: "},
        Hostile{"bad_utf8", "{\"model\":{\"vocab\":{\"\xff\":0}}}", "no JSON: "},
        Hostile{"no_model", "{}", "no \"model\" here"},
        Hostile{"null_model", R"({"model":null})", "model: expected an object, found null"},
        Hostile{"other_model", R"({"model":{"type":"Unigram"}})", "model.type: no model \"Unigram\"; known is BPE"},
        Hostile{"no_vocab", R"({"model":{}})", "model: no \"vocab\" here"},
        Hostile{"empty_vocab", R"({"model":{"vocab":{},"merges":[]}})", "model.vocab: no token"},
        Hostile{"vocab_list", R"({"model":{"vocab":[1]}})", "model.vocab: expected an object, found array"},
        Hostile{"id_text", R"({"model":{"vocab":{"a":"0"}}})", "model.vocab.a: expected a whole number, found string"},
        Hostile{"id_negative", R"({"model":{"vocab":{"a":-1}}})", "model.vocab.a: expected 0 to "},
        Hostile{"id_huge", R"({"model":{"vocab":{"a":18446744073709551615}}})", "model.vocab.a: expected 0 to "},
        Hostile{"id_beyond", R"({"model":{"vocab":{"a":2000000000}}})", "model.vocab.a: expected 0 to "},
        Hostile{"id_twice", R"({"model":{"vocab":{"a":0,"b":0}}})", "model.vocab.b: \"a\" has the same id 0"},
        Hostile{"no_merges", R"({"model":{"vocab":{"a":0}}})", "model: no \"merges\" here"},
        Hostile{"merges_text", R"({"model":{"vocab":{"a":0},"merges":"a"}})",
                "model.merges: expected a list, found string"},
        Hostile{"merge_number", R"({"model":{"vocab":{"a":0},"merges":[1]}})", "model.merges[0]: expected \"a b\" or"},
        Hostile{"merge_of_three", R"({"model":{"vocab":{"a":0},"merges":[["a","a","a"]]}})",
                "model.merges[0]: expected \"a b\" or"},
        Hostile{"merge_no_space", R"({"model":{"vocab":{"a":0},"merges":["aa"]}})",
                "model.merges[0]: expected two tokens"},
        Hostile{"merge_of_nothing", R"({"model":{"vocab":{"a":0},"merges":["a x"]}})",
                "model.merges[0]: names \"x\", which is not in model.vocab"},
        Hostile{"merge_to_nothing", R"({"model":{"vocab":{"a":0},"merges":["a a"]}})",
                "model.merges[0]: names \"aa\", which is not in model.vocab"},
        Hostile{"merge_in_a_circle", R"({"model":{"vocab":{"a":0,"aa":1},"merges":["a a","aa "]}})",
                "model.merges[1]: names \"\", which is not in model.vocab"},
        Hostile{"unk_missing", R"({"model":{"vocab":{"a":0},"merges":[],"unk_token":"u"}})",
                "model.unk_token: \"u\" is not in vocab"},
        Hostile{"suffix", R"({"model":{"vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"}})",
                "model.end_of_word_suffix: "},
        Hostile{"dropout", R"({"model":{"vocab":{"a":0},"merges":[],"dropout":0.1}})", "model.dropout: "},
        Hostile{"flag_text", R"({"model":{"vocab":{"a":0},"merges":[],"fuse_unk":"no"}})",
                "model.fuse_unk: expected true or false, found string \"no\""},
        Hostile{"normalizer", R"({"normalizer":{"type":"Bert"}})",
                "normalizer.type: no normalizer \"Bert\"; known are "},
        Hostile{"pre_tokenizer", R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Bert"}]}})",
                "pre_tokenizer.pretokenizers[0].type: no pre-tokenizer \"Bert\"; known are "},
        Hostile{"decoder", R"({"model":{"vocab":{"a":0},"merges":[]},"decoder":{"type":"CTC"}})",
                "decoder.type: no decoder \"CTC\"; known are "},
        Hostile{"post_processor", R"({"model":{"vocab":{"a":0},"merges":[]},"post_processor":{"type":"Bert"}})",
                "post_processor.type: no post-processor \"Bert\"; known are "},
        Hostile{
            "template_id",
            R"({"model":{"vocab":{"a":0},"merges":[]},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{"x":{"ids":[7]}}}})",
            "post_processor.special_tokens.x.ids[0]: expected 0 to 0, found 7"},
        Hostile{"regex", R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated"}})",
                "pre_tokenizer.pattern.Regex: no regular expression: "},
        Hostile{"behavior", R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":"a"},"behavior":"isolated"}})",
                "pre_tokenizer.behavior: expected Isolated, "},
        Hostile{"charsmap", R"({"normalizer":{"type":"Precompiled","precompiled_charsmap":"@"}})",
                "normalizer.precompiled_charsmap: not base64"},
        Hostile{"added_id", R"({"model":{"vocab":{"a":0},"merges":[]},"added_tokens":[{"id":0,"content":"b"}]})",
                "added_tokens[0]: id 0 of \"b\" is that of \"a\""},
        Hostile{"added_huge", R"({"model":{"vocab":{"a":0},"merges":[]},"added_tokens":[{"id":1e9,"content":"b"}]})",
                "added_tokens[0].id: expected a whole number"},
        Hostile{"added_empty", R"({"model":{"vocab":{"a":0},"merges":[]},"added_tokens":[{"id":1,"content":""}]})",
                "added_tokens[0].content: an empty token"}),
    [](const auto& i) { return std::string(i.param.name); });

TEST(HostileTokenizerJson, DeepNestingEnds) {
  std::string brackets(1'000'000, '[');
  EXPECT_NE(test::error_of([&] { HfTokenizer(brackets, "t.json", {}); }), "");
  EXPECT_NE(test::error_of([&] { HfTokenizer(brackets + std::string(1'000'000, ']'), "t.json", {}); }), "");
  for (const auto& [key, list] : {std::pair{"normalizer", "normalizers"}, {"pre_tokenizer", "pretokenizers"}}) {
    for (const auto& [depth, expected] : {std::pair{20, "more than 16 nested"}, {1000, "nested more than 64 deep"}}) {
      std::string file = fmt::format("{{\"{}\":", key);
      for (int i = 0; i < depth; ++i) file += fmt::format("{{\"type\":\"Sequence\",\"{}\":[", list);
      for (int i = 0; i < depth; ++i) file += "]}";
      const auto error = test::error_of([&] { HfTokenizer(file + "}", "t.json", {}); });
      EXPECT_NE(error.find(expected), std::string::npos) << error;
    }
  }
}

// Published patterns other than GPT-2's and Llama-3's; the two that have their own scanners are in tiktoken_test.cpp.
TEST(HfPreTokenizer, AMillionCharactersWithoutABreak) {
  const char* const stages[] = {
      // Qwen 2, o200k, DeepSeek-V3, DeepSeek-Coder, BLOOM
      R"({"type":"Split","behavior":"Isolated","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}})",
      R"({"type":"Split","behavior":"Isolated","pattern":{"Regex":"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}})",
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\\p{N}{1,3}"}},{"type":"Split","behavior":"Isolated","pattern":{"Regex":"[一-龥぀-ゟ゠-ヿ]+"}},{"type":"Split","behavior":"Isolated","pattern":{"Regex":"[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}}]})",
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\\s?\\p{L}+"}},{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\\s?\\p{P}+"}},{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\\s+$"}}]})",
      R"({"type":"Split","behavior":"Isolated","pattern":{"Regex":" ?[^(\\s|[.,!?…。，、।۔،])]+"}})"};
  for (const char* stage : stages) {
    for (const char* character : {"a", "A", " ", "\n", "1", "!", "一", "\xcc\x81"}) {
      std::string text;
      for (int i = 0; i < 1'100'000; ++i) text += character;
      text += "x";
      std::string again;
      for (const auto& piece : split(stage, text)) again += piece;
      ASSERT_TRUE(again == text) << stage << " " << character;
    }
  }
}

TEST(HostileTokenizerJson, BacktrackingEnds) {
  auto j = letters();
  const auto with = [&](const char* pattern) {
    j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    return test::error_of([&] { encoded(j, std::string(60, 'a') + "c"); });
  };
  EXPECT_EQ(with("(a|a|b?a)+$"), "");
  EXPECT_NE(with("(a|a|b?a)+\\1$").find("pre_tokenizer.pattern.Regex: searching a text of 61 bytes: "),
            std::string::npos);
}

}  // namespace
}  // namespace lt2
