#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class MetricsTest : public ::testing::Test {
 protected:
  nlohmann::ordered_json written(const StepMetrics& m) {
    MetricsLog(path_, 0).write(m);
    auto line = nlohmann::ordered_json::parse(read_file(path_));
    fs::remove(path_);
    return line;
  }
  test::TempFolder temporary_;
  fs::path path_ = temporary_.path() / "metrics.jsonl";
};

TEST_F(MetricsTest, LinguasKeysInOrder) {
  std::vector<std::string> keys;
  const auto line = written({.global_step = 3, .total_tokens = 96, .loops = 4, .loss = 2.5});
  for (const auto& [key, value] : line.items()) keys.push_back(key);
  EXPECT_EQ(keys,
            (std::vector<std::string>{"global_step", "acc_step", "speed/wps", "speed/FLOPS", "speed/curr_iter_time",
                                      "speed/data_load_time", "speed/loops", "optim/grad_norm", "optim/lr",
                                      "optim/total_tokens", "memory/max_active_gib", "memory/max_active_pct",
                                      "memory/max_reserved_gib", "memory/max_reserved_pct", "memory/num_alloc_retries",
                                      "memory/num_ooms", "memory/power_draw", "loss/out", "created_at"}));
  EXPECT_TRUE(line["optim/total_tokens"].is_number_integer());
}

TEST_F(MetricsTest, OptionalKeysAreThereWhenKnown) {
  const auto line = written({.gradient_norm = NAN,
                             .mfu = 0.31,
                             .terms = {{"indexer", 0.25}, {"unknown", NAN}},
                             .unit_norms = {{"output", 0.5}, {"layers.1", NAN}, {"embedding", 2}}});
  EXPECT_TRUE(line["optim/grad_norm"].is_null());
  EXPECT_EQ(line["loss/indexer"], 0.25);
  EXPECT_FALSE(line.contains("loss/unknown"));
  EXPECT_EQ(line["speed/mfu"], 0.31);
  EXPECT_EQ(line["optim/grad_norm/output"], 0.5);
  EXPECT_TRUE(line["optim/grad_norm/layers.1"].is_null());
  EXPECT_EQ(line["optim/grad_norm/embedding"], 2);
}

TEST_F(MetricsTest, ScalarsAreTheLinesCurves) {
  const StepMetrics m{.global_step = 3,
                      .tokens_per_s = 10,
                      .gradient_norm = NAN,
                      .loss = 2.5,
                      .mfu = 0.5,
                      .unit_norms = {{"output", 1.5}}};
  std::map<std::string, double> scalars;
  for (const auto& [key, value] : scalars_of(m)) scalars[key] = value;
  EXPECT_EQ(scalars.at("loss/out"), 2.5);
  EXPECT_EQ(scalars.at("speed/wps"), 10);
  EXPECT_EQ(scalars.at("speed/mfu"), 0.5);
  EXPECT_EQ(scalars.at("optim/grad_norm/output"), 1.5);
  EXPECT_TRUE(std::isnan(scalars.at("optim/grad_norm")));
  EXPECT_GT(scalars.at("memory/max_active_gib"), 0);
  for (const char* key : {"global_step", "acc_step", "memory/num_ooms", "created_at", "loss/indexer"}) {
    EXPECT_EQ(scalars.count(key), 0u) << key;
  }
}

TEST_F(MetricsTest, AResumedRunDropsLaterAndBrokenLines) {
  std::ofstream(path_) << "{\"global_step\":1}\n{\"global_step\":2}\n{\"global_step\":3}\n{\"global_st";
  const MetricsLog log(path_, 2);
  EXPECT_EQ(read_file(path_), "{\"global_step\":1}\n{\"global_step\":2}\n");
}

}  // namespace
}  // namespace lt2
