#include "train/schedule.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace lt2 {
namespace {

OptimConfig schedule(const std::string& scheduler, int64_t warmup, double floor) {
  OptimConfig optim;
  optim.scheduler = scheduler;
  optim.warmup = warmup;
  optim.lr_min_ratio = floor;
  return optim;
}

OptimConfig from_json(const nlohmann::json& fields) {
  OptimConfig optim = schedule(fields.at("scheduler"), fields.at("warmup"), fields.at("lr_min_ratio"));
  optim.cycle_length = fields.value("cycle_length", optim.cycle_length);
  optim.cosine_theta = fields.value("cosine_theta", optim.cosine_theta);
  optim.decay_fraction = fields.value("decay_fraction", optim.decay_fraction);
  optim.exp_factor = fields.value("exp_factor", optim.exp_factor);
  return optim;
}

TEST(Schedule, AgreesWithTheVectors) {
  std::ifstream file(std::string(LT2_TEST_DATA) + "/vectors/model/lr_schedules.json");
  const auto table = nlohmann::json::parse(file);
  ASSERT_EQ(table.size(), 9u);
  for (const auto& row : table) {
    const OptimConfig optim = from_json(row.at("optim"));
    const auto factors = row.at("factors").get<std::vector<double>>();
    const int64_t steps = row.at("n_steps");
    ASSERT_EQ(factors.size(), static_cast<size_t>(steps) + 3);
    for (size_t k = 0; k < factors.size(); ++k)
      EXPECT_NEAR(lr_factor(static_cast<int64_t>(k), steps, optim), factors[k], 1e-12)
          << row.at("optim") << " step " << k;
  }
}

struct Point {
  int64_t step;
  double factor;
};

void expect_points(const OptimConfig& optim, int64_t steps, const std::vector<Point>& points) {
  for (const auto& [step, factor] : points) EXPECT_NEAR(lr_factor(step, steps, optim), factor, 1e-12) << step;
}

TEST(Schedule, RecipeCosine) {
  expect_points(schedule("cosine", 5000, 1e-6), 255000,
                {{0, 0},
                 {1, 0.0002},
                 {2500, 0.5},
                 {4999, 0.9998},
                 {5000, 1},
                 {50000, 0.9221640405870448},
                 {130000, 0.5000005},
                 {200000, 0.11474426386872681},
                 {254999, 1.000039478381054e-06},
                 {255000, 1},
                 {255001, 1e-6}});
}

TEST(Schedule, HalfCycleCosineJumpsWhereTheSignFlips) {
  OptimConfig optim = schedule("cosine", 100, 0.1);
  optim.cycle_length = 0.5;
  expect_points(
      optim, 1000,
      {{300, 0.6281416799501187}, {499, 0.12822310472864884}, {500, 0.9728616793536587}, {750, 0.6281416799501186}});
}

TEST(Schedule, WarmupStableDecay) {
  OptimConfig optim = schedule("wsd", 100, 0.1);
  expect_points(optim, 1000,
                {{900, 1},
                 {901, 0.9174311926605504},
                 {950, 0.18181818181818182},
                 {999, 0.10090817356205853},
                 {1000, 0.1},
                 {1001, 1}});
}

TEST(Schedule, InverseSquareRoot) {
  expect_points(schedule("inv_sqrt", 100, 0.1), 1000, {{550, 0.42640143271122083}, {100000, 0.1}});
}

TEST(Schedule, ARunShorterThanItsWarmupIsFine) {
  for (const char* scheduler : {"linear", "cosine"}) {
    const OptimConfig optim = schedule(scheduler, 2000, 0.1);
    EXPECT_DOUBLE_EQ(lr_factor(19, 20, optim), 19.0 / 2000);
    EXPECT_THROW(lr_factor(2000, 2000, optim), Error);
  }
}

TEST(Schedule, RejectsAnUnknownScheduler) { EXPECT_THROW(lr_factor(1, 10, schedule("cosin", 0, 0.1)), Error); }

}  // namespace
}  // namespace lt2
