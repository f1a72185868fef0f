#include "data/loader.h"
#include "data/sources.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "data/loader_state.h"
#include "data/validation.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::error_of;

class LoaderTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) const {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name, std::ios::binary) << content;
  }

  // `count` documents of which each is one sequence of eight: a number of seven digits behind BOS.
  void write_numbered(const std::string& name, int count) const {
    std::string lines;
    for (int i = 0; i < count; ++i) lines += fmt::format("{{\"text\": \"{:07}\"}}\n", i);
    write(name, lines);
  }

  DataConfig config(std::vector<std::pair<std::string, double>> sources) const {
    DataConfig config;
    config.root_dir = root_.string();
    config.sources = std::move(sources);
    config.batch_size = 2;
    config.seq_len = 8;
    config.prefetch_size = 3;
    config.load_async = false;
    return config;
  }
  DataConfig numbered_config(const std::string& source) const {
    DataConfig numbered = config({{source, 1}});
    numbered.add_eos = false;
    return numbered;
  }

  // What the first batch of a .jsonl source with this content fails with, without the path in front.
  std::string jsonl_error(const std::string& content) const {
    write("x.jsonl", content);
    const std::string message = error_of([&] { Loader(config({{"x.jsonl", 1}}), 0, 1).next(); });
    const std::string path = (root_ / "x.jsonl").string();
    return message.starts_with(path) ? message.substr(path.size()) : message;
  }

  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

std::vector<int32_t> view(const Batch& batch, int64_t row, int64_t which) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < batch.seq_len; ++i)
    tokens.push_back(batch.tokens[static_cast<size_t>((row * batch.seq_len + i) * batch.n_views + which)]);
  return tokens;
}

// The number of a document of write_numbered.
int number(const Batch& batch, int64_t row) {
  const auto tokens = view(batch, row, 0);
  EXPECT_EQ(tokens[0], 256);
  int value = 0;
  for (size_t i = 1; i < tokens.size(); ++i) value = value * 10 + (tokens[i] - '0');
  return value;
}

std::string text_of(const std::vector<int32_t>& tokens) {
  std::string text;
  for (const int32_t token : tokens) text += token < 256 ? static_cast<char>(token) : token == 256 ? '<' : '>';
  return text;
}

nlohmann::json parsed(const std::string& state) { return nlohmann::json::parse(quote_long_integers(state)); }

// The worked example: what Meta Lingua's own loader printed for these files.
class WorkedExample : public LoaderTest {
 protected:
  WorkedExample() {
    write(
        "a/a.chunk.00.jsonl",
        "{\"text\": \"alpha one\"}\n{\"text\": \"alpha two!\"}\n{\"text\": \"alpha three, longer than the others\"}\n");
    write("b/b.chunk.00.jsonl",
          "{\"content\": \"beta 1\"}\n{\"content\": \"beta 22\"}\n{\"content\": \"beta 333\"}\n{\"content\": \"beta "
          "4444\"}\n");
    example_ = config({{"a", 2}, {"b", 1}});
  }
  DataConfig example_;
};

const std::vector<std::vector<int32_t>> kRows = {
    {108, 112, 104, 97, 32, 116, 119, 111},   {256, 98, 101, 116, 97, 32, 49, 257},
    {111, 110, 101, 257, 256, 98, 101, 116},  {256, 98, 101, 116, 97, 32, 50, 50},
    {257, 256, 97, 108, 112, 104, 97, 32},    {97, 32, 51, 51, 51, 257, 256, 97},
    {111, 116, 104, 101, 114, 115, 257, 256}, {108, 111, 110, 103, 101, 114, 32, 116},
    {104, 97, 110, 32, 116, 104, 101, 32},    {98, 101, 116, 97, 32, 52, 52, 52},
    {32, 116, 104, 114, 101, 101, 44, 32},    {33, 257, 256, 97, 108, 112, 104, 97},
    {257, 256, 97, 108, 112, 104, 97, 32},    {112, 104, 97, 32, 116, 119, 111, 33},
    {32, 111, 110, 101, 257, 256, 97, 108},   {116, 104, 114, 101, 101, 44, 32, 108},
    {52, 257, 256, 97, 108, 112, 104, 97},    {111, 110, 103, 101, 114, 32, 116, 104}};

// The state behind batch 2, `data` standing for the root folder.
constexpr const char* kState2 = R"({"it_state": {"start_token": 10,
   "it_state": {"it_state": {"root_dir": "data", "sources": {"a": 2.0, "b": 1.0},
        "source_to_state": {
          "a": {"file_path": "data/a/a.chunk.00.jsonl", "position": 22, "block_size": 1, "offset": 0, "current_iter": 0},
          "b": {"file_path": "data/b/b.chunk.00.jsonl", "position": 69, "block_size": 1, "offset": 0, "current_iter": 0}},
        "rng_state": {"bit_generator": "PCG64", "state": {"state": 233740441562799783280929306941260451373,
          "inc": 111500568425583190928121790447584964095}, "has_uint32": 0, "uinteger": 0}},
      "add_bos": true, "add_eos": true, "name": "bytes", "path": null},
   "output_seq_len": 8, "n_views": 2},
 "seq_idx": 0,
 "rng_state": {"bit_generator": "PCG64", "state": {"state": 279786467907380238369214928666763236190,
   "inc": 320259918008534295616636660254370264787}, "has_uint32": 1, "uinteger": 3771227112},
 "batch_size": 2, "prefetch_size": 3})";

TEST_F(WorkedExample, Batches) {
  Loader loader(example_, 0, 1);
  for (size_t b = 0; b < kRows.size() / 2; ++b) {
    const Batch batch = loader.next();
    for (size_t row = 0; row < 2; ++row)
      EXPECT_EQ(view(batch, static_cast<int64_t>(row), 0), kRows[2 * b + row]) << b << ", " << row;
  }
}

TEST_F(WorkedExample, ViewsAreTheStreamShifted) {
  example_.n_views = 3;
  Loader loader(example_, 0, 1);
  for (int b = 0; b < 20; ++b) {
    const Batch batch = loader.next();
    EXPECT_EQ(batch.tokens.size(), 2u * 8 * 3);
    for (int64_t row = 0; row < 2; ++row)
      for (int64_t v = 1; v < 3; ++v) {
        const auto before = view(batch, row, v - 1), shifted = view(batch, row, v);
        EXPECT_TRUE(std::equal(before.begin() + 1, before.end(), shifted.begin()));
      }
  }
}

TEST_F(WorkedExample, States) {
  Loader loader(example_, 0, 1);
  const auto initial = parsed(loader.state());
  EXPECT_EQ(initial["seq_idx"], 0);
  EXPECT_EQ(initial["it_state"]["seq_len"], 0);
  std::vector<nlohmann::json> states;
  for (int b = 0; b < 6; ++b) {
    loader.next();
    states.push_back(parsed(loader.state()));
  }
  for (int b = 0; b < 2; ++b) {
    auto expected = initial;
    expected["seq_idx"] = b + 1;
    EXPECT_EQ(states[static_cast<size_t>(b)], expected);
  }

  std::string text = kState2;
  for (size_t at = 0; (at = text.find("\"data", at)) != std::string::npos; at += 2)
    text.replace(at + 1, 4, root_.string());
  auto expected = parsed(text);
  EXPECT_EQ(states[2], expected);
  EXPECT_FALSE(states[2]["it_state"].contains("seq_len"));
  expected["seq_idx"] = 1;
  EXPECT_EQ(states[3], expected);

  const auto& last = states[5];
  const auto& mixed = last["it_state"]["it_state"]["it_state"];
  EXPECT_EQ(last["it_state"]["start_token"], 9);
  EXPECT_EQ(mixed["source_to_state"]["a"]["position"], 93);
  EXPECT_EQ(mixed["source_to_state"]["b"]["position"], 69);
  EXPECT_EQ(mixed["rng_state"]["state"]["state"], "139565670099613702195319340606753107103");
  EXPECT_EQ(last["seq_idx"], 0);
  EXPECT_EQ(last["rng_state"]["state"]["state"], "332215493319556103088746008900318738144");
  EXPECT_EQ(last["rng_state"]["has_uint32"], 0);
  EXPECT_EQ(last["rng_state"]["uinteger"], 2464347808u);
}

TEST_F(WorkedExample, EveryStateResumesExactly) {
  Loader whole(example_, 0, 1);
  std::vector<std::string> states = {whole.state()};
  std::vector<std::vector<int32_t>> batches;
  for (int b = 0; b < 40; ++b) {
    batches.push_back(whole.next().tokens);
    states.push_back(whole.state());
  }
  for (size_t from = 0; from < 30; ++from) {
    Loader resumed(example_, 0, 1);
    EXPECT_TRUE(resumed.restore(states[from], 7));
    EXPECT_EQ(resumed.state(), states[from]);
    for (size_t b = from; b < batches.size(); ++b) {
      ASSERT_EQ(resumed.next().tokens, batches[b]) << "from " << from << ", batch " << b;
      ASSERT_EQ(resumed.state(), states[b + 1]);
    }
  }
}

TEST_F(WorkedExample, ResumesAnOfficialStateWhoseFolderMoved) {
  Loader loader(example_, 0, 1);
  ASSERT_TRUE(loader.restore(kState2, 3));
  EXPECT_EQ(view(loader.next(), 0, 0), kRows[6]);
}

TEST_F(WorkedExample, ResumesFromAStateWhoseIntegersWereQuoted) {
  Loader loader(example_, 0, 1);
  ASSERT_TRUE(loader.restore(parsed(kState2).dump(), 3));
  EXPECT_EQ(view(loader.next(), 1, 0), kRows[7]);
}

TEST_F(WorkedExample, ResumesInTheFileThatTheStateNames) {
  // Lingua takes the files of a folder in any order: here it had given this process the second one.
  write("a/a.chunk.01.jsonl", "{\"text\": \"another file\"}\n");
  fs::rename(root_ / "a/a.chunk.00.jsonl", root_ / "a/a.chunk.02.jsonl");
  std::string state = kState2;
  state.replace(state.find("a.chunk.00"), 10, "a.chunk.02");
  example_.allow_unread_chunks = true;
  Loader loader(example_, 0, 1);
  ASSERT_TRUE(loader.restore(state, 3));
  EXPECT_EQ(view(loader.next(), 0, 0), kRows[6]);
  EXPECT_NE(loader.state().find("a.chunk.02"), std::string::npos);
}

TEST_F(WorkedExample, LoadingAheadChangesNothing) {
  Loader here(example_, 0, 1);
  example_.load_async = true;
  Loader ahead(example_, 0, 1);
  for (int b = 0; b < 50; ++b) {
    ASSERT_EQ(ahead.state(), here.state());
    ASSERT_EQ(ahead.next().tokens, here.next().tokens);
    // Going back to where it is throws away what was loaded ahead.
    if (b % 9 == 8) {
      ASSERT_TRUE(ahead.restore(ahead.state(), 1));
    }
  }
}

TEST_F(WorkedExample, WhatCannotBeContinuedStartsAfreshInAnotherOrder) {
  Loader loader(example_, 0, 1);
  for (int b = 0; b < 5; ++b) loader.next();
  const std::string state = loader.state();
  const auto restarts = [&](const DataConfig& changed, int64_t rank, int64_t world) {
    Loader other(changed, rank, world);
    const bool kept = other.restore(state, 5);
    other.next();
    return !kept;
  };
  EXPECT_FALSE(restarts(example_, 0, 1));
  auto changed = example_;
  changed.seq_len = 16;
  EXPECT_TRUE(restarts(changed, 0, 1));
  changed = example_;
  changed.sources[0].second = 3;
  EXPECT_TRUE(restarts(changed, 0, 1));
  changed = example_;
  changed.seed = 43;
  EXPECT_TRUE(restarts(changed, 0, 1));
  EXPECT_TRUE(restarts(example_, 0, 2));
  write("a/a.chunk.00.jsonl", "{\"text\": \"something else, and longer\"}\n");
  EXPECT_TRUE(restarts(example_, 0, 1));

  // The fresh start can itself be continued.
  Loader fresh(changed, 0, 1);
  EXPECT_FALSE(fresh.restore(state, 5));
  for (int b = 0; b < 7; ++b) fresh.next();
  const std::string later = fresh.state();
  Loader again(changed, 0, 1);
  EXPECT_TRUE(again.restore(later, 12));
  EXPECT_EQ(again.next().tokens, fresh.next().tokens);
  EXPECT_EQ(again.state(), fresh.state());

  EXPECT_EQ(error_of([&] { fresh.restore("{}", 5); }).find("data loader state: "), 0u);
  EXPECT_EQ(error_of([&] { fresh.restore("{\"it_state\"", 5); }).find("data loader state: "), 0u);
}

using Counting = LoaderTest;

TEST_F(Counting, NothingIsRepeatedOrSkippedAcrossResumes) {
  write_numbered("a/a.chunk.00.jsonl", 1000);
  auto numbered = numbered_config("a");
  numbered.batch_size = 3;
  numbered.prefetch_size = 5;
  numbered.load_async = true;
  // 100 batches with an interruption behind every third: all documents handed out are different, and those missing are
  // in the buffer.
  std::set<int> seen;
  std::string state;
  for (int b = 0; b < 100;) {
    Loader loader(numbered, 0, 1);
    if (!state.empty()) {
      ASSERT_TRUE(loader.restore(state, b));
    }
    for (int i = 0; i < 3 && b < 100; ++i, ++b) {
      const Batch batch = loader.next();
      for (int64_t row = 0; row < 3; ++row) EXPECT_TRUE(seen.insert(number(batch, row)).second);
    }
    state = loader.state();
  }
  EXPECT_EQ(seen.size(), 300u);
  EXPECT_LT(*seen.rbegin(), 300 + 15);
}

TEST_F(Counting, EveryPassGivesEveryDocumentOnce) {
  write_numbered("a/a.chunk.00.jsonl", 7);
  auto numbered = numbered_config("a");
  numbered.batch_size = 1;
  numbered.prefetch_size = 1;  // no shuffling: the order of the file
  Loader loader(numbered, 0, 1);
  for (int i = 0; i < 30; ++i) EXPECT_EQ(number(loader.next(), 0), i % 7);
}

TEST_F(Counting, ProcessesShareAFileLineByLine) {
  write_numbered("a/a.chunk.00.jsonl", 400);
  std::set<int> seen;
  for (int64_t rank = 0; rank < 4; ++rank) {
    Loader loader(numbered_config("a"), rank, 4);
    std::string state;
    for (int b = 0; b < 40; ++b) {
      const Batch batch = loader.next();
      for (int64_t row = 0; row < 2; ++row) {
        const int document = number(batch, row);
        EXPECT_EQ(document % 4, rank);
        EXPECT_TRUE(seen.insert(document).second);
      }
    }
    Loader resumed(numbered_config("a"), rank, 4);
    EXPECT_TRUE(resumed.restore(loader.state(), 40));
    EXPECT_EQ(resumed.next().tokens, loader.next().tokens);
  }
}

TEST_F(Counting, MoreFilesThanProcessesIsAnErrorUnlessAllowed) {
  for (int i = 0; i < 4; ++i) write(fmt::format("a/a.chunk.0{}.jsonl", i), fmt::format("{{\"text\": \"{}\"}}\n", i));
  EXPECT_NE(
      error_of([&] {
        Loader(config({{"a", 1}}), 1, 2);
      })
          .find("4 chunk files for 2 processes, which read one each: 2 would never be read. Prepare the data with "
                "nchunks=2, train with 4 processes, or set data.allow_unread_chunks=true"),
      std::string::npos);
  auto allowed = config({{"a", 1}});
  allowed.allow_unread_chunks = true;
  EXPECT_EQ(text_of(view(Loader(allowed, 1, 2).next(), 0, 0)).find_first_not_of("<1>"), std::string::npos);
  const std::string message = error_of([&] { Loader(config({{"a", 1}}), 0, 6); });
  EXPECT_NE(message.find("6 processes cannot share 4 chunk files evenly"), std::string::npos) << message;
}

TEST_F(Counting, ATextThatCannotBeTokenizedIsNamed) {
  // A reference to a group: within limits only.
  write("words.json", R"({"model":{"vocab":{"a":0,"c":1},"merges":[]},"pre_tokenizer":{"type":"Split","pattern":)"
                      R"({"Regex":"(a|a)+\\1$"},"behavior":"Isolated"}})");
  write("t.jsonl", "{\"text\": \"aaaa\"}\n{\"text\": \"" + std::string(60, 'a') + "c\"}\n");
  write("t.txt", std::string(60, 'a') + "c");
  for (const std::string source : {"t.jsonl", "t.txt"}) {
    auto loading = config({{source, 1}});
    loading.tokenizer.name = "hf";
    loading.tokenizer.path = (root_ / "words.json").string();
    loading.add_bos = loading.add_eos = false;
    const auto message = error_of([&] { Loader(loading, 0, 1).next(); });
    EXPECT_TRUE(message.starts_with((root_ / source).string() + (source == "t.jsonl" ? ":2: " : ": "))) << message;
    EXPECT_NE(message.find("searching a text of 61 bytes"), std::string::npos) << message;
  }
}

TEST_F(Counting, SourcesAreShownWithTheirShares) {
  for (int i = 0; i < 2; ++i) write(fmt::format("a/a.chunk.0{}.jsonl", i), "{\"text\": \"x\"}\n");
  write("t.txt", "text");
  EXPECT_EQ(source_lines(root_.string(), {{"a", 3}, {"t.txt", 1}}),
            (std::vector<std::string>{"75 % of the documents from " + (root_ / "a").string() + " (2 chunk files)",
                                      "25 % of the documents from " + (root_ / "t.txt").string()}));
}

TEST_F(Counting, AProcessWithoutALineIsAnError) {
  write_numbered("a/a.chunk.00.jsonl", 3);
  EXPECT_NE(error_of([&] { Loader(numbered_config("a"), 3, 4).next(); }).find("no document for this process"),
            std::string::npos);
}

using TextFile = LoaderTest;

TEST_F(TextFile, IsOneDocumentThatRepeats) {
  write("t.txt", "hello\nworld");
  auto text = config({{"t.txt", 1}});
  text.prefetch_size = text.batch_size = 1;
  Loader loader(text, 0, 1);
  std::string stream;
  for (int b = 0; b < 5; ++b) {
    stream += text_of(view(loader.next(), 0, 0));
    Loader resumed(text, 0, 1);
    ASSERT_TRUE(resumed.restore(loader.state(), b));
    ASSERT_EQ(resumed.state(), loader.state());
  }
  EXPECT_EQ(stream, "<hello\nworld><hello\nworld><hello\nworld><");
}

TEST_F(TextFile, ProcessesTakeSharesCutBetweenCharacters) {
  write("t.txt",
        "abc\xe2\x82\xac"
        "defgh");  // half way lies inside the euro sign
  auto text = config({{"t.txt", 1}});
  text.prefetch_size = text.batch_size = 1;
  EXPECT_EQ(text_of(view(Loader(text, 0, 2).next(), 0, 0)), "<abc\xe2\x82\xac>");
  EXPECT_EQ(text_of(view(Loader(text, 1, 2).next(), 0, 0)), "<defgh><");
}

TEST_F(TextFile, BrokenBytesAreKeptByTheBytesTokenizer) {
  write("t.txt",
        "ok\xff\xfe"
        "ok");
  ::testing::internal::CaptureStderr();
  {
    auto text = config({{"t.txt", 1}});
    Loader loader(text, 0, 1);
    EXPECT_NE(text_of(view(loader.next(), 0, 0)).find("\xff\xfe"), std::string::npos);
    for (int b = 0; b < 20; ++b) loader.next();
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("2 byte sequences"), std::string::npos) << log;
  EXPECT_EQ(log.find("byte sequences"), log.rfind("byte sequences")) << log;
}

using Validation = LoaderTest;

ValidationSet held_text(const DataConfig& config, const std::optional<std::string>& source, int64_t max_batches,
                        double held_back = 0) {
  return ValidationSet(config, source, max_batches, held_back, *make_tokenizer("bytes", std::nullopt));
}

TEST_F(Validation, TheEndOfATextIsHeldBack) {
  std::string all;
  for (int i = 0; i < 1000; ++i) all += static_cast<char>('a' + i % 26);
  write("t.txt", all);
  auto text = config({{"t.txt", 1}});
  text.add_bos = text.add_eos = false;
  const auto validation = held_text(text, std::nullopt, 100, 0.05);
  std::string held;
  for (const Batch& batch : validation.batches())
    for (int64_t row = 0; row < batch.rows; ++row) held += text_of(view(batch, row, 0));
  EXPECT_EQ(
      held,
      all.substr(950, 48));  // six sequences of eight; the ninth token of the last is the 49th, the 50th is left over
  EXPECT_EQ(validation.batches().size(), 3u);
  EXPECT_EQ(held_text(text, std::nullopt, 2, 0.05).batches().size(), 2u);

  // Training sees the other 950 characters only: its stream returns to the beginning behind them.
  text.prefetch_size = text.batch_size = 1;
  Loader loader(text, 0, 1, 0.05);
  std::string stream;
  for (int b = 0; b < 150; ++b) stream += text_of(view(loader.next(), 0, 0));
  EXPECT_EQ(stream, (all.substr(0, 950) + all).substr(0, 1200));
}

TEST_F(Validation, TheLastLinesOfAJsonlAreHeldBack) {
  write_numbered("n.jsonl", 100);
  auto numbered = numbered_config("n.jsonl");
  const auto validation = held_text(numbered, std::nullopt, 100, 0.05);
  std::vector<int> held;
  for (const Batch& batch : validation.batches())
    for (int64_t row = 0; row < batch.rows; ++row) held.push_back(number(batch, row));
  EXPECT_EQ(held, (std::vector<int>{95, 96, 97, 98}));  // the last has no target for its last token
  numbered.prefetch_size = numbered.batch_size = 1;
  Loader loader(numbered, 0, 1, 0.05);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(number(loader.next(), 0), i % 95);
}

TEST_F(Validation, FoldersHaveTheirOwnFilesAndSourcesTakeTurns) {
  write_numbered("a/a.chunk.00.jsonl", 10);
  write("a/a.val.jsonl", "{\"text\": \"aaaaaaa\"}\n{\"text\": \"AAAAAAA\"}\n{\"text\": \"_\"}\n");
  write_numbered("b/b.chunk.00.jsonl", 10);
  write("b/b.val.jsonl", "{\"text\": \"bbbbbbb\"}\n{\"text\": \"_\"}\n");
  auto both = numbered_config("a");
  both.sources.emplace_back("b", 1);
  both.batch_size = 8;
  const auto batches = held_text(both, std::nullopt, 10).batches();
  ASSERT_EQ(batches.size(), 1u);
  ASSERT_EQ(batches[0].rows, 3);
  EXPECT_EQ(text_of(view(batches[0], 0, 0)), "<aaaaaaa");
  EXPECT_EQ(text_of(view(batches[0], 1, 0)), "<bbbbbbb");
  EXPECT_EQ(text_of(view(batches[0], 2, 0)), "<AAAAAAA");
  EXPECT_EQ(text_of(view(batches[0], 2, 1)), "AAAAAAA<");
}

TEST_F(Validation, ASourceOfItsOwnIsReadWhole) {
  write("t.txt", "training text");
  write("v.txt", "short");
  const auto batches = held_text(config({{"t.txt", 1}}), "v.txt", 10).batches();
  ASSERT_EQ(batches.size(), 1u);  // shorter than a sequence: one row of what there is
  EXPECT_EQ(text_of(view(batches[0], 0, 0)), "<short");
  EXPECT_EQ(text_of(view(batches[0], 0, 1)), "short>");
}

TEST_F(Validation, MissingFilesSayWhatToDo) {
  write_numbered("a/a.chunk.00.jsonl", 10);
  EXPECT_NE(error_of([&] {
              held_text(config({{"a", 1}}), std::nullopt, 1);
            }).find("no *.val.jsonl file in this folder; found a.chunk.00.jsonl"),
            std::string::npos);
  write("t.txt", "some text");
  EXPECT_NE(error_of([&] {
              held_text(config({{"t.txt", 1}}), std::nullopt, 1);
            }).find("val.fraction is 0"),
            std::string::npos);
}

TEST_F(Validation, ASingleLineCannotBeSharedAndThatIsSaidOnce) {
  write("one.jsonl", "{\"text\": \"the only line\"}\n");
  auto one = config({{"one.jsonl", 1}});
  ::testing::internal::CaptureStderr();
  Loader loader(one, 0, 1, 0.05);
  loader.next();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_NE(error_of([&] { held_text(one, std::nullopt, 1, 0.05); }).find("too short to hold back 0.05 of it"),
            std::string::npos);
}

using Hostile = LoaderTest;

TEST_F(Hostile, ErrorsNameFileAndLine) {
  EXPECT_EQ(jsonl_error("{\"text\": \"a\"}\n{\"body\": \"b\"}\n"),
            ":2: no \"text\" or \"content\" field, found \"body\". Rename it.");
  EXPECT_EQ(jsonl_error("{}\n"), ":1: no \"text\" or \"content\" field, found an empty object");
  EXPECT_EQ(jsonl_error("{\"text\": 5}\n"), ":1: \"text\" is a number; expected a string");
  EXPECT_EQ(jsonl_error("{\"text\": null}\n"), ":1: \"text\" is null; expected a string");
  EXPECT_EQ(jsonl_error("\r\n\r{\"text\": \"a\"\n"),
            ":3: not valid JSON: expected ',' or '}' at column 14, found the end of the line");
  EXPECT_EQ(jsonl_error("{\"text\": \"a"),
            ":1: not valid JSON: expected the closing quote of a string at column 12, found the end of the line");
  EXPECT_EQ(jsonl_error("[1]\n"), ":1: not valid JSON: expected an object {...} at column 1, found '['");
  EXPECT_EQ(jsonl_error("{\"text\": \"a\"} x\n"),
            ":1: not valid JSON: expected the end of the line at column 15, found 'x'");
  EXPECT_EQ(jsonl_error("{\"text\": \"a\tb\"}\n"),
            ":1: not valid JSON: expected no raw control character in a string at column 12, found byte 0x09");
  EXPECT_EQ(jsonl_error("{\"text\": \"\\x\"}\n"), ":1: not valid JSON: expected an escape at column 12, found 'x'");
  EXPECT_EQ(jsonl_error("{\"text\": \"\\u12g4\"}\n"),
            ":1: not valid JSON: expected four hex digits at column 15, found 'g'");
  EXPECT_EQ(jsonl_error("{\"n\": 01, \"text\": \"\"}\n"),
            ":1: not valid JSON: expected ',' or '}' at column 8, found '1'");
  EXPECT_EQ(jsonl_error("{\"n\": " + std::string(100000, '[') + "\n"), ":1: nested deeper than 512 levels");
  EXPECT_EQ(jsonl_error(std::string("{\"text\": \"a\"}\n\0\n", 16)),
            ":2: not valid JSON: expected an object {...} at column 1, found byte 0x00");
}

TEST_F(Hostile, WhatPythonReadsIsRead) {
  write("x.jsonl",
        "\xef\xbb\xbf{\"n\": [1, -2.5e+3, NaN, -Infinity, {\"deep\": [true, null, \"\\\"\"]}], \"text\": \"first\", "
        "\"text\": \"\\u0041\\n\\/\"}\r\n"
        "\n  \t\n"
        "{\"content\": \"ignored\", \"text\": \"\\ud83d\\ude00\\ud83dx\\udc00\"}\r"
        "{\"te\\u0078t\": \"\xff\"}");
  auto one = config({{"x.jsonl", 1}});
  one.prefetch_size = one.batch_size = 1;
  one.seq_len = 31;
  Loader loader(one, 0, 1);
  EXPECT_EQ(text_of(view(loader.next(), 0, 0)),
            "<A\n/><\xf0\x9f\x98\x80\xef\xbf\xbdx\xef\xbf\xbd><\xff><A\n/><\xf0\x9f\x98\x80");
}

// A mark in front is no text: not in the one document of a .txt file, on no rank, and alone it is nothing.
TEST_F(Hostile, AByteOrderMarkIsNoText) {
  const std::string mark = "\xef\xbb\xbf";
  write("x.txt", mark + "a" + mark + "b");
  auto one = config({{"x.txt", 1}});
  one.prefetch_size = one.batch_size = 1;
  one.seq_len = 8;
  EXPECT_EQ(text_of(view(Loader(one, 0, 1).next(), 0, 0)), "<a" + mark + "b><");
  EXPECT_EQ(text_of(view(Loader(one, 0, 2).next(), 0, 0)).substr(0, 3), "<a>");
  EXPECT_EQ(text_of(view(Loader(one, 1, 2).next(), 0, 0)).substr(0, 6), "<" + mark + "b>");
  write("x.txt", mark);
  EXPECT_NE(error_of([&] { Loader(one, 0, 1).next(); }).find("x.txt: no document in it"), std::string::npos);
}

TEST_F(Hostile, FilesWithoutText) {
  EXPECT_EQ(jsonl_error(""), ": the file is empty");
  EXPECT_EQ(jsonl_error("\n \n\r\n"), ": no document in it");
  write("empty.jsonl", "{\"text\": \"\"}\n{\"text\": \"\"}\n");
  auto bare = config({{"empty.jsonl", 1}});
  EXPECT_EQ(text_of(view(Loader(bare, 0, 1).next(), 0, 0)), "<><><><>");
  bare.add_bos = bare.add_eos = false;
  EXPECT_NE(error_of([&] { Loader(bare, 0, 1).next(); }).find("not one token in the whole file"), std::string::npos);
  write("some.jsonl", "{\"text\": \"\"}\n{\"text\": \"abc\"}\n{\"text\": \"\"}\n");
  bare.sources = {{"some.jsonl", 1}};
  EXPECT_EQ(text_of(view(Loader(bare, 0, 1).next(), 0, 0)).size(), 8u);
}

TEST_F(Hostile, MissingSources) {
  write("data.jsonl.gz", "x");
  write("folder/train.jsonl", "{\"text\": \"a\"}\n");
  const auto message = [&](const std::string& source) {
    return error_of([&] { Loader(config({{source, 1}}), 0, 1); });
  };
  EXPECT_NE(message("dat").find("data.sources.dat: no such file or folder"), std::string::npos);
  EXPECT_NE(message("dat").find("data.jsonl.gz, folder"), std::string::npos) << message("dat");
  EXPECT_NE(message("folder").find("no *.chunk.*.jsonl file in this folder; found train.jsonl."), std::string::npos)
      << message("folder");
  EXPECT_NE(message("data.jsonl.gz").find("expected a folder"), std::string::npos);
  EXPECT_NE(error_of([&] { Loader(config({}), 0, 1); }).find("no source"), std::string::npos);
  EXPECT_NE(error_of([&] {
              Loader(config({{"folder/train.jsonl", 0}}), 0, 1);
            }).find("all weights are 0"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              Loader(config({{"folder/train.jsonl", -1}}), 0, 1);
            }).find("expected a weight >= 0, found -1"),
            std::string::npos);
}

TEST_F(Hostile, AnErrorOfTheLoadingThreadArrives) {
  std::string lines;
  for (int i = 0; i < 50; ++i) lines += "{\"text\": \"0000000\"}\n";
  write("x.jsonl", lines + "broken\n");
  auto ahead = config({{"x.jsonl", 1}});
  ahead.load_async = true;
  Loader loader(ahead, 0, 1);
  std::string first, second;
  for (int b = 0; b < 50 && first.empty(); ++b) {
    first = error_of([&] { loader.next(); });
  }
  EXPECT_NE(first.find("x.jsonl:51: not valid JSON"), std::string::npos) << first;
  EXPECT_EQ(error_of([&] { loader.next(); }), first);
}

TEST_F(Hostile, ADocumentThatShrankUnderASavedPosition) {
  write("x.jsonl", "{\"text\": \"0123456789012345678901234567890123456789\"}\n");
  auto one = config({{"x.jsonl", 1}});
  one.prefetch_size = one.batch_size = 1;
  Loader loader(one, 0, 1);
  loader.next();
  loader.next();
  const std::string state = loader.state();
  write("x.jsonl", "{\"text\": \"short\"}\n");
  Loader resumed(one, 0, 1);
  ASSERT_TRUE(resumed.restore(state, 2));
  EXPECT_NE(error_of([&] { resumed.next(); }).find("of a document that has 7 tokens"), std::string::npos);
}

TEST(QuoteLongIntegers, LeavesTheRestAlone) {
  EXPECT_EQ(quote_long_integers(
                R"({"a": 123456789012345678901234567890, "b": 12.5, "c\"123456789012345678901": [-1, 1e99]})"),
            R"({"a": "123456789012345678901234567890", "b": 12.5, "c\"123456789012345678901": [-1, 1e99]})");
}

}  // namespace
}  // namespace lt2
