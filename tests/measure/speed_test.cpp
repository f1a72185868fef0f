#include "measure/speed.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "measure/machine.h"
#include "measure/models.h"
#include "ops/runtime.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

using Json = nlohmann::json;

// A turn of one token that takes what a list says; no clock.
Contestant scripted(const std::string& label, std::vector<double> seconds) {
  const size_t most = seconds.size();
  return {.row = {.mode = "decode", .shape = {}, .model = label, .context = 1024, .batch = 1, .dtype = "fp32"},
          .tokens = 1,
          .most = most,
          .turn = [seconds = std::move(seconds), next = size_t{0}]() mutable { return seconds[next++]; },
          .floor_s = [](size_t) { return 0.5; }};
}

std::vector<SpeedRow> rows_of(Contestant full, Contestant hybrid) {
  std::vector<Contestant> both;
  both.push_back(std::move(full));
  both.push_back(std::move(hybrid));
  both[1].baseline = 0;
  return time_in_turns(both, {.seconds = 1e9});
}

TEST(Speed, AHiccupInOneHalfOfAPairChangesNothing) {
  const auto rows = rows_of(scripted("full", {4, 4, 60, 4, 4, 4, 4}), scripted("hybrid", {1, 1, 1, 1, 1, 30, 1}));
  ASSERT_TRUE(rows[1].comparison);
  EXPECT_EQ(rows[1].comparison->baseline, "full");
  EXPECT_DOUBLE_EQ(rows[1].comparison->ratio.median, 4);
  EXPECT_FALSE(rows[1].comparison->ratio.noisy());
  EXPECT_DOUBLE_EQ(rows[0].tokens_per_s.median, 0.25);
  EXPECT_DOUBLE_EQ(rows[0].share, 0.125);
  EXPECT_FALSE(rows[0].tokens_per_s.noisy());
  EXPECT_FALSE(rows[0].comparison);
  const auto json = Json::parse(to_json(rows[1]));
  EXPECT_EQ(json["baseline"], "full");
  EXPECT_EQ(json["speed_ratio"], 4);
  EXPECT_EQ(json["speed_ratio_noisy"], false);
  EXPECT_EQ(json["repeats"], 7);
}

// What the demo's page made "15.0 times as fast" of: full attention was disturbed for half of its turns.
TEST(Speed, ARatioOfDisturbedPairsIsKnownToBeNoisy) {
  const auto rows = rows_of(scripted("full", {4, 14, 15, 4, 15, 4}), scripted("hybrid", {1, 1, 1, 1, 1, 1}));
  EXPECT_TRUE(rows[1].comparison->ratio.noisy());
  EXPECT_TRUE(rows[0].tokens_per_s.noisy());
  EXPECT_FALSE(rows[1].tokens_per_s.noisy());
  const auto json = Json::parse(to_json(rows[1]));
  EXPECT_EQ(json["speed_ratio_noisy"], true);
  EXPECT_LT(json["speed_ratio_low"], 5);
  EXPECT_GT(json["speed_ratio_high"], 13);
}

// The machine halves its speed while they take turns: it meets both.
TEST(Speed, ASlowerMachineMeetsBothHalvesOfAPair) {
  const auto rows = rows_of(scripted("full", {4, 4, 8, 8, 8, 4}), scripted("hybrid", {1, 1, 2, 2, 2, 1}));
  EXPECT_DOUBLE_EQ(rows[1].comparison->ratio.median, 4);
  EXPECT_FALSE(rows[1].comparison->ratio.noisy());
  EXPECT_TRUE(rows[1].tokens_per_s.noisy());
}

TEST(Speed, MovedLimitsAreNamed) {
  const MachineLimits calm{.fma_gflops = 300, .bf16_gflops = 0, .byte_gflops = 0, .read_gbps = 28};
  MachineLimits later = calm;
  later.fma_gflops = 285;
  EXPECT_EQ(moved_limits(calm, later), "");
  later.fma_gflops = 210;
  later.read_gbps = 6.8;
  EXPECT_EQ(moved_limits(calm, later), "fp32 300 -> 210 GFLOP/s, reading 28 -> 6.8 GB/s");
  EXPECT_EQ(moved_limits(later, calm), "fp32 210 -> 300 GFLOP/s, reading 6.8 -> 28 GB/s");
  const auto json = Json::parse(to_json(calm, later));
  EXPECT_EQ(json["kind"], "machine");
  EXPECT_EQ(json["noisy"], true);
  EXPECT_EQ(json["end"]["read_gbps"], 6.8);
  EXPECT_EQ(Json::parse(to_json(calm, calm))["noisy"], false);
}

TEST(Speed, TheMachineHasRates) {
  init_runtime();
  const auto rates = measure_rates({.fma = true, .bf16 = true, .read = true, .read_write = true});
  EXPECT_GT(rates.fma_gflops, 0.1);
  EXPECT_GT(rates.read_gbps, 0.1);
  EXPECT_GT(rates.read_write_gbps, 0.1);
  EXPECT_EQ(rates.bf16_gflops > 0, rates.bf16_register_gflops > 0);
  EXPECT_EQ(rates.byte_gflops, 0) << "not asked for";
}

TEST(Speed, SeveralModelsAreComparedWithTheFirst) {
  init_runtime();
  std::vector<OwnModel> models;
  for (const char* pattern : {"full", "gdn"}) {
    models.push_back({.timed = {.model = test::make_model({.layer_pattern = pattern}), .label = pattern},
                      .recompute = {"none", "block"},
                      .seq_len = 24,
                      .batch_size = 2});
  }
  std::vector<SpeedRow> rows;
  time_models(models,
              {.modes = {"train", "prefill", "decode"}, .contexts = {16, 40}, .batch = std::nullopt, .seconds = 0.01},
              {.fma_gflops = 100, .bf16_gflops = 0, .byte_gflops = 0, .read_gbps = 10},
              [&](const SpeedRow& row) { rows.push_back(row); });
  ASSERT_EQ(rows.size(), 4u + 4u + 4u);  // 2 models x 2 levels; x 2 contexts; x 2 contexts
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    EXPECT_EQ(row.comparison.has_value(), row.model != "full") << row.mode << " " << row.model;
    EXPECT_GE(row.tokens_per_s.count, kLeastSamples);
    EXPECT_GT(row.peak_bytes, 0);
    EXPECT_EQ(row.predicted_share.has_value(), row.mode == "decode");
    EXPECT_EQ(row.first_token_s > 0, row.mode != "train");
  }
  EXPECT_EQ(rows[1].model, "full/block");
  EXPECT_EQ(rows[1].comparison->baseline, "full");
  EXPECT_EQ(rows[8].predicted_share->median, 1);
}

}  // namespace
}  // namespace lt2
