// Which source the next document comes from.
#include "data/mixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class MixtureTest : public ::testing::Test {
 protected:
  // A file of `count` documents that say its name.
  Mixture::Source source(const std::string& name, double weight, int count = 3, const std::string& text = "") {
    const auto path = root_ / (name + ".jsonl");
    std::ofstream file(path);
    for (int i = 0; i < count; ++i) file << "{\"text\": \"" << (text.empty() ? name : text) << "\"}\n";
    file.close();
    return {name, weight, {.path = path.string(), .begin = 0, .end = static_cast<int64_t>(fs::file_size(path))}};
  }
  Mixture make(const std::vector<Mixture::Source>& sources, uint64_t seed = 1) {
    return {sources, {.tokenizer = tokenizer_.get()}, Pcg64({seed})};
  }
  // The names of the files that `count` documents come from.
  static std::vector<std::string> names(Mixture& mixture, int count) {
    std::vector<std::string> out;
    for (int i = 0; i < count; ++i) {
      EXPECT_FALSE(mixture.next()->empty());
      out.push_back(fs::path(mixture.last_path()).stem().string());
    }
    return out;
  }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
  std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer("bytes", std::nullopt);
};

TEST_F(MixtureTest, SharesFollowTheWeights) {
  auto mixture = make({source("a", 1), source("b", 6), source("none", 0), source("c", 3)});
  std::map<std::string, int> counts;
  constexpr int kDraws = 4000;
  for (const auto& name : names(mixture, kDraws)) ++counts[name];
  EXPECT_EQ(counts.count("none"), 0u);
  for (const auto& [name, share] : {std::pair{"a", 0.1}, {"b", 0.6}, {"c", 0.3}})
    EXPECT_NEAR(counts[name], share * kDraws, 5 * std::sqrt(share * (1 - share) * kDraws)) << name;
}

// A draw u in [0, 1) takes the first source whose cumulative share is above u.
TEST_F(MixtureTest, EachDocumentTakesOneDraw) {
  auto mixture = make({source("a", 2), source("b", 2), source("c", 4)}, 9);
  Pcg64 draws({9});
  for (const auto& name : names(mixture, 200)) {
    const double u = draws.uniform();
    EXPECT_EQ(name, u < 0.25 ? "a" : u < 0.5 ? "b" : "c");
  }
  EXPECT_EQ(mixture.state().rng, draws.state());
}

TEST_F(MixtureTest, AStateGivesTheSameDocumentsAgain) {
  const std::vector<Mixture::Source> sources{source("a", 1), source("b", 2)};
  auto mixture = make(sources), other = make(sources, 77);
  names(mixture, 13);
  const auto state = mixture.state();
  const auto rest = names(mixture, 50);
  EXPECT_NE(names(other, 50), rest);
  other.set_state(state);
  EXPECT_EQ(names(other, 50), rest);
  EXPECT_EQ(other.state(), mixture.state());
}

// BOS and EOS make a token of every document, so only without them a text can give none.
TEST_F(MixtureTest, EmptyDocumentsArePassedOverAndASourceOfThemIsNamed) {
  const Encoding bare{.tokenizer = tokenizer_.get(), .add_bos = false, .add_eos = false};
  auto some = source("some", 1);
  std::ofstream(some.part.path) << "{\"text\": \"\"}\n{\"text\": \"x\"}\n{\"text\": \"\"}\n";
  some.part.end = static_cast<int64_t>(fs::file_size(some.part.path));
  Mixture mixture({some}, bare, Pcg64({1}));
  EXPECT_EQ(names(mixture, 5), std::vector<std::string>(5, "some"));
  EXPECT_GE(mixture.state().readers[0].current_iter, 4);  // one token a pass
  auto none = source("none", 1);
  std::ofstream(none.part.path) << "{\"text\": \"\"}\n";
  none.part.end = static_cast<int64_t>(fs::file_size(none.part.path));
  Mixture silent({none}, bare, Pcg64({1}));
  EXPECT_EQ(test::error_of([&] { silent.next(); }),
            none.part.path + ": not one token in the whole file (every text is empty)");
}

TEST_F(MixtureTest, WeightsThatMeanNothingAreNamed) {
  for (const double weight : {-1.0, std::nan(""), HUGE_VAL}) {
    const auto error = test::error_of([&] { make({source("a", 1), source("odd", weight)}); });
    EXPECT_TRUE(error.starts_with("data.sources.odd: expected a weight >= 0, found")) << error;
  }
  EXPECT_EQ(test::error_of([&] { make({source("a", 0), source("b", 0)}); }), "data.sources: all weights are 0");
  EXPECT_TRUE(test::error_of([&] { make({}); }).starts_with("data.sources: no source."));
}

}  // namespace
}  // namespace lt2
