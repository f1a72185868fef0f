#include "measure/frontier.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "measure/random_model.h"
#include "model/accounting.h"
#include "ops/runtime.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

using Json = nlohmann::json;

std::shared_ptr<LoopedTransformer> model_of(const std::string& layer_pattern,
                                            const std::string& attention_pattern = "0:1") {
  init_runtime();
  return make_random_model(test::config_of({.layer_pattern = layer_pattern, .attention_pattern = attention_pattern}),
                           torch::kBFloat16);
}

TEST(Frontier, FitsAndOneStepMoreDoesNot) {
  for (const char* pattern : {"full", "dsa", "nsa", "mla", "interleaved:1:1:gdn:full"}) {
    const auto model = model_of(pattern);
    for (const int64_t batch : {1, 3, 8}) {
      for (const int64_t memory : {int64_t{4} << 20, int64_t{32} << 20, int64_t{1} << 33}) {
        const int64_t context = largest_context(*model, batch, memory);
        EXPECT_EQ(context % kContextStep, 0);
        EXPECT_TRUE(context == 0 || serving_memory(*model, context, batch).total() <= memory) << pattern;
        EXPECT_GT(serving_memory(*model, context + kContextStep, batch).total(), memory) << pattern;
      }
    }
  }
}

TEST(Frontier, MoreMemoryReachesFurtherAndMoreSequencesLess) {
  const auto model = model_of("full");
  int64_t last = 0;
  for (int64_t memory = 1 << 20; memory <= int64_t{1} << 30; memory *= 2) {
    const int64_t context = largest_context(*model, 1, memory);
    EXPECT_GE(context, last);
    last = context;
    int64_t others = context;
    for (const int64_t batch : {2, 5, 32}) {
      const int64_t of_batch = largest_context(*model, batch, memory);
      EXPECT_LE(of_batch, others);
      others = of_batch;
    }
  }
  EXPECT_GT(last, 0);
}

TEST(Frontier, NoneWithoutMemoryNoEndWithoutCaches) {
  const auto full = model_of("full");
  EXPECT_EQ(largest_context(*full, 1, 0), 0);
  EXPECT_EQ(largest_context(*full, 1, served_bytes(*full, full->compute_type)), 0);
  for (const char* layout : {"gdn", "mamba2"})
    EXPECT_EQ(largest_context(*model_of(layout), 4, int64_t{1} << 28), kEndlessContext) << layout;
  EXPECT_EQ(largest_context(*model_of("full", "1:0"), 4, int64_t{1} << 28), kEndlessContext) << "a window";
}

TEST(Frontier, ATriedRowDecodesAndATenthMoreIsRefused) {
  const auto model = model_of("interleaved:1:1:gdn:full");
  const int64_t memory = int64_t{24} << 20;
  auto row = compute_frontier(*model, 2, memory);
  ASSERT_GT(row.context, 0);
  EXPECT_LE(row.needs.total(), memory);
  EXPECT_EQ(row.refused_context, row.context + row.context / 10);
  EXPECT_GT(row.refused_bytes, memory);
  EXPECT_FALSE(Json::parse(to_json(row))["tried"].get<bool>());
  try_frontier(*model, row, memory, false);
  EXPECT_TRUE(row.tried);
  EXPECT_EQ(row.tried_context, row.context);
  EXPECT_GT(row.step_s, 0);
  const auto json = Json::parse(to_json(row));
  for (const char* key : {"kind", "model", "context", "endless", "batch", "dtype", "memory_bytes", "planned_bytes",
                          "weight_bytes", "state_bytes", "scratch_bytes", "refused_context", "refused_bytes", "tried",
                          "tried_context", "tried_state_bytes", "resident_bytes", "step_s"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
}

TEST(Frontier, BeyondThisMachineItIsComputedOrTriedWithWhatThereIs) {
  const auto model = model_of("full");
  auto row = compute_frontier(*model, 1, int64_t{1} << 40);
  try_frontier(*model, row, int64_t{32} << 20, false);
  EXPECT_FALSE(row.tried);
  EXPECT_NE(row.not_tried.find("32.0 MiB"), std::string::npos) << row.not_tried;
  try_frontier(*model, row, int64_t{32} << 20, true);
  EXPECT_TRUE(row.tried);
  EXPECT_LT(row.tried_context, row.context);
  EXPECT_GT(row.tried_context, 0);
  auto none = compute_frontier(*model, 1, 0);
  try_frontier(*model, none, 0, true);
  EXPECT_FALSE(none.tried);
  EXPECT_EQ(none.not_tried, "nothing fits");
}

TEST(Frontier, AnEndlessRowHasNoContext) {
  auto row = compute_frontier(*model_of("gdn"), 1, int64_t{1} << 28);
  ASSERT_TRUE(row.endless());
  const auto json = Json::parse(to_json(row));
  EXPECT_TRUE(json["context"].is_null());
  EXPECT_TRUE(json["endless"].get<bool>());
  EXPECT_FALSE(json.contains("refused_context"));
}

}  // namespace
}  // namespace lt2
