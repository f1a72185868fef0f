#include "measure/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "infer/memory_plan.h"
#include "measure/frontier.h"
#include "ops/runtime.h"
#include "tests/support/models.h"
#include "tests/support/recipes.h"

namespace lt2 {
namespace {

using Json = nlohmann::json;

TEST(ChooseRows, TheMostWantedThatFitInTheirOrder) {
  const std::vector<RowCost> rows{{0, 2, 3}, {0, 0, 4}, {0, 1, 5}, {0, 1, 2}};
  EXPECT_EQ(choose_rows(rows, {0}, 100), (std::vector<bool>{true, true, true, true}));
  // 4 of rank 0; 5 of rank 1 is too much for the 3 that are left, 2 is not.
  EXPECT_EQ(choose_rows(rows, {0}, 7), (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(choose_rows(rows, {0}, 0), (std::vector<bool>{false, false, false, false}));
  EXPECT_EQ(choose_rows(rows, {0}, -1), (std::vector<bool>{false, false, false, false}));
  EXPECT_TRUE(choose_rows({}, {}, 10).empty());
}

TEST(ChooseRows, AModelIsMadeOnce) {
  const std::vector<RowCost> rows{{0, 0, 1}, {1, 0, 1}, {1, 1, 1}, {0, 1, 1}};
  // Model 0: 5 + 1; model 1 does not fit into what is left, model 0's second row does.
  EXPECT_EQ(choose_rows(rows, {5, 5}, 8), (std::vector<bool>{true, false, false, true}));
  EXPECT_EQ(choose_rows(rows, {5, 0}, 9), (std::vector<bool>{true, true, true, true}));
}

TEST(ChooseRows, NeverMoreThanThereIs) {
  uint32_t random = 1;
  const auto next = [&](uint32_t below) { return (random = random * 1664525 + 1013904223) / 65536 % below; };
  for (int round = 0; round < 200; ++round) {
    std::vector<RowCost> rows;
    for (uint32_t i = next(20); i > 0; --i) rows.push_back({next(3), static_cast<int>(next(4)), 0.5 * next(9)});
    const std::vector<double> setup{1.0 * next(5), 1.0 * next(5), 1.0 * next(5)};
    const double seconds = next(30);
    const auto chosen = choose_rows(rows, setup, seconds);
    double sum = 0;
    std::set<size_t> made;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (chosen[i]) sum += rows[i].seconds + (made.insert(rows[i].model).second ? setup[rows[i].model] : 0);
    }
    EXPECT_LE(sum, seconds);
  }
}

TEST(RecipeModels, AreTheRecipes) {
  const std::map<std::string, std::string> files{{"full", "looped_pure_full"},
                                                 {"window", "looped_pure_window"},
                                                 {"gdn", "looped_pure_gdn"},
                                                 {"full+gdn", "looped_hybrid_gdn_4to1"}};
  int compared = 0;
  for (const auto& model : recipe_models()) {
    const auto file = files.find(model.layout);
    if (file == files.end()) continue;
    const std::string folder = model.shape == "1.3B" ? "1B" : "600M";
    const auto recipe = load_train_config(
        std::string(LT2_SOURCE_DIR) + "/configs/" + folder + "/" + file->second + "_" + folder + ".yaml", {});
    auto config = recipe.model;
    validate_model(config);
    EXPECT_EQ(test::total_parameters(model.config), test::total_parameters(config)) << model.shape << model.layout;
    EXPECT_EQ(model.config.layer_pattern, config.layer_pattern);
    EXPECT_EQ(model.config.attention_pattern, config.attention_pattern);
    EXPECT_EQ(model.config.default_sliding_window, config.default_sliding_window);
    EXPECT_EQ(model.config.use_attn_gate, config.use_attn_gate);
    EXPECT_EQ(model.config.loop_count, config.loop_count);
    ++compared;
  }
  EXPECT_EQ(compared, 8);
  const auto plain = recipe_models().back();
  EXPECT_EQ(ffn_hidden_dim(plain.config), 5632);
  EXPECT_EQ(plain.config.loop_count, 1);
}

TEST(RandomModel, LayersAreDrawnOnceAndHaveMemoryOfTheirOwn) {
  init_runtime();
  const auto config = test::config_of(
      {.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1", .gate = true});
  const auto model = make_random_model(config, torch::kBFloat16);
  for (const auto& parameter : model->parameters())
    EXPECT_TRUE(parameter.is_meta() || torch::isfinite(parameter).all().item<bool>());
  const auto panels = [&](size_t layer) { return model->layers[layer]->feed_forward->w1->packed_parts()[0].second; };
  EXPECT_TRUE(torch::equal(panels(0), panels(1)));
  EXPECT_NE(panels(0).data_ptr(), panels(1).data_ptr());
  EXPECT_GT(panels(0).to(torch::kFloat32).abs().max().item<float>(), 0);
}

class Grid : public ::testing::Test {
 protected:
  void SetUp() override {
    init_runtime();
    options_.contexts = {16, 64, 128};
    options_.prompts = {16, 40};
    options_.batches = {1, 3};
    options_.seconds = 0.001;
    options_.memory = int64_t{1} << 30;
    for (const char* pattern : {"full", "gdn"}) {
      models_.push_back({.shape = "tiny", .layout = pattern, .config = test::config_of({.layer_pattern = pattern})});
    }
  }
  void run(double elapsed = 0) {
    run_grid(models_, options_, {.fma_gflops = 100, .bf16_gflops = 0, .byte_gflops = 0, .read_gbps = 10}, elapsed,
             {.planned = {},
              .done = [&](const SpeedRow& row) { done_.push_back(row); },
              .skipped = [&](const SkippedRow& row) { skipped_.push_back(row); }});
  }
  // 2 models x (2 prompts + 3 contexts x 2 batches)
  static constexpr size_t kRows = 16;
  GridOptions options_;
  std::vector<BenchModel> models_;
  std::vector<SpeedRow> done_;
  std::vector<SkippedRow> skipped_;
};

TEST_F(Grid, EveryRowWithItsKeys) {
  run();
  ASSERT_EQ(done_.size(), kRows);
  EXPECT_TRUE(skipped_.empty());
  for (const auto& row : done_) {
    const auto json = Json::parse(to_json(row));
    EXPECT_EQ(json["kind"], row.mode);
    EXPECT_EQ(json["shape"], "tiny");
    for (const char* key : {"context", "batch", "tokens_per_s", "floor_tokens_per_s", "share", "first_token_s",
                            "state_bytes", "peak_bytes", "planned_bytes"}) {
      ASSERT_TRUE(json.contains(key)) << key;
      EXPECT_GT(json[key].get<double>(), 0) << key << " " << json.dump();
    }
    EXPECT_EQ(json["dtype"], "bf16");
    EXPECT_EQ(json.contains("predicted_share"), row.mode == "decode");
    EXPECT_TRUE(row.mode == "decode" || row.batch == 1);
    if (row.mode == "decode" && row.context == 16) {
      EXPECT_EQ(row.predicted_share->median, 1);
    }
    EXPECT_GE(row.tokens_per_s.count, row.mode == "decode" ? 5u : 1u);
    EXPECT_LE(json["tokens_per_s_low"], json["tokens_per_s"]);
    EXPECT_GE(json["tokens_per_s_high"], json["tokens_per_s"]);
    EXPECT_EQ(json["noisy"], row.tokens_per_s.noisy());
  }
}

TEST_F(Grid, WithoutRoomForTheFirstContextBesideItNothingIsPredicted) {
  options_.modes = {"decode"};
  options_.batches = {1};
  options_.contexts = {64, 128};
  models_.resize(1);
  const auto model = make_empty_model(models_[0].config, options_.dtype);
  options_.memory =
      held_weight_bytes(*model) + serving_memory(*model, 128, 1).total() - serving_memory(*model, 128, 1).weights;
  run();
  ASSERT_EQ(done_.size(), 2u);
  EXPECT_TRUE(done_[0].predicted_share);
  EXPECT_FALSE(done_[1].predicted_share);
  EXPECT_FALSE(Json::parse(to_json(done_[1])).contains("predicted_share"));
}

TEST_F(Grid, WithoutTimeEveryRowIsListed) {
  run(/*elapsed=*/600);
  EXPECT_TRUE(done_.empty());
  ASSERT_EQ(skipped_.size(), kRows);
  for (const auto& row : skipped_) {
    const auto json = Json::parse(to_json(row));
    EXPECT_EQ(json["kind"], "skipped");
    EXPECT_NE(json["reason"].get<std::string>().find("no time"), std::string::npos);
    for (const char* key :
         {"mode", "shape", "model", "context", "batch", "dtype", "floor_tokens_per_s", "planned_bytes"}) {
      EXPECT_TRUE(json.contains(key)) << key;
    }
  }
}

TEST_F(Grid, WhatDoesNotFitIntoMemoryIsListedAndTheRestRuns) {
  models_[0].config = test::config_of({.layer_pattern = "full"});
  options_.modes = {"decode"};
  options_.contexts = {16, 1 << 30};
  run();
  EXPECT_EQ(done_.size(), 6u);  // full at 16, gdn at both, each for two batches
  ASSERT_EQ(skipped_.size(), 2u);
  for (const auto& row : skipped_) {
    EXPECT_EQ(row.model, "full");
    EXPECT_NE(row.reason.find("memory"), std::string::npos) << row.reason;
  }
}

}  // namespace
}  // namespace lt2
