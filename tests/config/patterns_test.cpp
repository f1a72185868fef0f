#include "config/patterns.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "config/train_config.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

using nlohmann::json;

const json& vectors() {
  static const json all = json::parse(std::ifstream(LT2_TEST_DATA "/vectors/model/patterns.json"));
  return all;
}

std::optional<int64_t> optional(const json& value) {
  return value.is_null() ? std::nullopt : std::optional<int64_t>(value);
}

ModelConfig config_of(const json& entry) {
  ModelConfig config;
  config.attention_pattern = entry["attention_pattern"];
  config.n_layers = entry["n_layers"];
  config.loop_count = entry["loop_count"];
  config.default_sliding_window = optional(entry["default_sliding_window"]);
  config.seed = entry["seed"];
  return config;
}

std::string attention_error(const std::string& pattern, int64_t n_layers = 4, int64_t loops = 2,
                            std::optional<int64_t> window = 16) {
  ModelConfig config;
  config.attention_pattern = pattern;
  config.n_layers = n_layers;
  config.loop_count = loops;
  config.default_sliding_window = window;
  return test::error_of([&] { attention_plan(config); });
}

std::string layer_error(const std::string& pattern, int64_t n_layers = 4) {
  return test::error_of([&] { layer_types(pattern, n_layers); });
}

TEST(AttentionPattern, EveryVector) {
  int checked = 0;
  for (const auto& entry : vectors()["attention"]) {
    const auto config = config_of(entry);
    SCOPED_TRACE(config.attention_pattern);
    ++checked;
    if (entry.contains("error")) {
      EXPECT_THROW(attention_plan(config, entry["draw"]), Error);
      continue;
    }
    const auto plan = attention_plan(config, entry["draw"]);
    EXPECT_EQ(plan.block_size, entry["block_size"]);
    EXPECT_EQ(plan.n_blocks(), entry["n_blocks"]);
    EXPECT_EQ(plan.random, is_random_pattern(config.attention_pattern));
    std::vector<std::vector<std::optional<int64_t>>> windows;
    for (const auto& row : entry["windows"]) {
      windows.emplace_back();
      for (const auto& window : row) windows.back().push_back(optional(window));
    }
    EXPECT_EQ(plan.windows, windows);
  }
  EXPECT_EQ(checked, 33);
}

TEST(AttentionPattern, EveryShuffleVector) {
  ASSERT_FALSE(vectors()["shuffles"].empty());
  for (const auto& entry : vectors()["shuffles"]) {
    std::vector<int> items(entry["n"].get<size_t>());
    std::iota(items.begin(), items.end(), 0);
    PythonRandom(entry["seed"].get<uint64_t>()).shuffle(items);
    EXPECT_EQ(items, entry["permutation"].get<std::vector<int>>());
  }
}

TEST(AttentionPattern, FixedPatternsDoNotDependOnTheDraw) {
  ModelConfig config;
  config.attention_pattern = "4:1";
  EXPECT_EQ(attention_plan(config, 0).windows, attention_plan(config, 9).windows);
  config.attention_pattern = "random:1:1";
  EXPECT_NE(attention_plan(config, 0).windows, attention_plan(config, 1).windows);
}

TEST(AttentionPattern, ErrorsNameFieldValueAndWhatIsAllowed) {
  EXPECT_EQ(attention_error("0:0"),
            "model.attention_pattern takes a:b with whole numbers that are not both 0; found \"0:0\"");
  EXPECT_EQ(attention_error("1:1", 4, 2, std::nullopt),
            "model.attention_pattern needs model.default_sliding_window, which is null; found \"1:1\"");
  EXPECT_EQ(attention_error("bookend:3"),
            "model.attention_pattern takes bookend:k with 0 <= 2k <= model.n_layers = 4; found \"bookend:3\"");
  EXPECT_EQ(attention_error("8,8"),
            "model.attention_pattern must list one window per layer (model.n_layers = 4); found \"8,8\"");
  EXPECT_EQ(attention_error("8,x,8,8"),
            "model.attention_pattern lists \"x\", neither a window above 0 nor None; found \"8,x,8,8\"");
  EXPECT_EQ(attention_error("full->full->full"),
            "model.attention_pattern must have one part per loop (model.loop_count = 2); found \"full->full->full\"");
  EXPECT_EQ(
      attention_error("full->SWA=0"),
      "model.attention_pattern has a part \"SWA=0\" whose window is not a whole number above 0; found \"full->SWA=0\"");
  EXPECT_EQ(attention_error("full->random:1:1").find("model.attention_pattern takes a:b"), 0u);
  EXPECT_EQ(attention_error("bookend_random:4:1").find("model.attention_pattern leaves 1 unlimited places"), 0u);
  for (const auto* bad :
       {"", "full", "swa=8", "4:", ":1", "-1:2", "4:1:", "random:", "random:0:0", "->", "1.5:1", "9999999999:1"}) {
    EXPECT_NE(attention_error(bad), "") << bad;
  }
  EXPECT_EQ(attention_error("0:1", 4, 2, std::nullopt), "");
  EXPECT_EQ(attention_error("bookend:2", 4, 2, std::nullopt), "");
  EXPECT_EQ(attention_error("random:0:1", 4, 2, std::nullopt), "");
  EXPECT_EQ(attention_error("7", 1), "");
}

TEST(LayerPattern, EveryVector) {
  int checked = 0;
  for (const auto& entry : vectors()["layers"]) {
    SCOPED_TRACE(entry["layer_pattern"].get<std::string>());
    ++checked;
    if (entry.contains("error")) {
      EXPECT_THROW(layer_types(entry["layer_pattern"], entry["n_layers"]), Error);
    } else {
      EXPECT_EQ(layer_types(entry["layer_pattern"], entry["n_layers"]), entry["types"].get<std::vector<std::string>>());
    }
  }
  EXPECT_EQ(checked, 11);
}

TEST(LayerPattern, OurForms) {
  EXPECT_EQ(layer_types("bookend:1:full:gdn", 4), (std::vector<std::string>{"full", "gdn", "gdn", "full"}));
  EXPECT_EQ(layer_types("gla", 1), (std::vector<std::string>{"gla"}));
  EXPECT_EQ(layer_types("interleaved:1:1:la:kda", 3), (std::vector<std::string>{"la", "kda", "la"}));
  EXPECT_NE(layer_error("bookend:3:full:gdn"), "");
  EXPECT_NE(layer_error("bookend:0:full:gdn"), "");
  EXPECT_NE(layer_error("bookend:1:gdn:gdn"), "");
}

TEST(LayerPattern, ErrorsNameFieldValueAndWhatIsAllowed) {
  EXPECT_EQ(layer_error("cot_gdp"),
            "model.layer_pattern names the experimental mixer cot_gdp, which is not supported; found \"cot_gdp\"");
  EXPECT_EQ(layer_error("window"),
            "model.layer_pattern cannot be window: write full, with model.attention_pattern \"1:0\"; found \"window\"");
  EXPECT_EQ(layer_error("softmax"),
            "model.layer_pattern has an unknown type \"softmax\" (known: full, gdn, kda, deltanet, mamba2, retnet, "
            "hgrn2, gla, la, nsa, dsa, mla); "
            "found \"softmax\"");
  EXPECT_EQ(layer_error("mixed:1:2").find("model.layer_pattern must be a type ("), 0u);
}

}  // namespace
}  // namespace lt2
