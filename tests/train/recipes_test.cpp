// Every recipe: its plan has the sizes of the formulas, and scaled down it trains.
#include "tests/support/recipes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/threads.h"
#include "tests/support/temp_folder.h"
#include "train/plan.h"
#include "train/trainer.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::recipes_in;
using test::total_parameters;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TrainConfig planned(const std::string& file, int64_t world, const std::vector<std::string>& overrides = {}) {
  auto config = load_train_config(file, overrides);
  validate(config, nullptr, {.world_size = world, .dry_run = true});
  return config;
}

std::string recipe(const std::string& name) { return std::string(LT2_SOURCE_DIR) + "/configs/" + name + ".yaml"; }

std::vector<std::string> all_recipes() {
  std::vector<std::string> all;
  for (const char* folder : {"600M", "1B", "tiny"}) {
    const auto some = recipes_in(folder);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

// ---- Plans ----

TEST(Plan, ParametersAreThoseOfTheFormulas) {
  for (const auto& file : all_recipes()) {
    auto config = planned(file, 24);
    const auto text = training_plan(config, 24);
    if (config.model.vocab_size < 0) config.model.vocab_size = 258;
    EXPECT_TRUE(text.starts_with(fmt::format("parameters       {}\n", total_parameters(config.model)))) << file << "\n"
                                                                                                        << text;
  }
}

TEST(Plan, SaysWhatTheRunWillBe) {
  const auto text = training_plan(planned(recipe("1B/looped_hybrid_gdn_4to1_1B"), 24), 24);
  for (const char* part :
       {"parameters       1765336805\n", "gdn mixers                      429354720\n",
        "depth            4 loops x 21 layers = 84 layer calls a token\n",
        "tokens per step  393216 = 24 ranks x 1 micro-steps x 4 sequences x 4096\n",
        "total tokens     100B in 255000 steps", "full_shard over 24 ranks, activation_checkpointing layer, bf16",
        "AdamW moments                   561.2 MiB\n", "recompute none"}) {
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
  }
  EXPECT_TRUE(has(training_plan(planned(recipe("1B/looped_hybrid_gdn_4to1_1B"), 1, {"grad_acc_steps=24"}), 1),
                  "tokens per step  393216 = 1 ranks x 24 micro-steps"));
}

// Forward FLOPs are two a weight and loop, the embedding is looked up, and the attention's share is known by hand.
TEST(Plan, FlopsByHand) {
  const auto config = planned(recipe("600M/looped_pure_full_600M"), 1);
  const LoopedTransformer model(config.model);
  const double d = 1024, L = 4096, V = 128256, F = 2816;
  const double by_hand = 2 * V * d + 4 * 25 * (2 * (4 * d * d + 3 * d * F) + 4 * d * (L + 1) / 2);
  EXPECT_NEAR(mean_forward_flops_per_token(model, 4096) / by_hand, 1, 1e-3);
  EXPECT_DOUBLE_EQ(training_flops_per_token(model, 4096), 3 * mean_forward_flops_per_token(model, 4096));
  // A window of 2048 in 4096 tokens: half of them see less.
  const auto windowed = planned(recipe("1B/looped_pure_window_1B"), 1);
  const LoopedTransformer narrow(windowed.model);
  const double seen = (2048.0 * 2049 / 2 + 2048.0 * 2048) / 4096, D = 2048;
  const double narrow_by_hand = 2 * V * D + 4 * 25 * (2 * (4 * D * D + 3 * D * 5632) + 4 * D * seen);
  EXPECT_NEAR(mean_forward_flops_per_token(narrow, 4096) / narrow_by_hand, 1, 1e-3);
}

TEST(Plan, MemoryByHand) {
  const auto config = planned(recipe("600M/looped_pure_full_600M"), 8, {"distributed.model_dtype=fp32"});
  const LoopedTransformer model(config.model);
  const int64_t P = total_parameters(config.model), layer = 12847104, outside = P - 25 * layer, tokens = 4 * 4096;
  const auto of = [&](Sharding sharding, Recompute recompute, int64_t world) {
    return rank_memory(model, config, sharding, recompute, world);
  };
  const auto whole = of(Sharding::kNone, Recompute::kNone, 8);
  EXPECT_EQ(whole.weights, 4 * P);
  EXPECT_EQ(whole.gradients, 4 * P);
  EXPECT_EQ(whole.moments, 8 * P);
  // A call keeps two fp32 streams, two norms, three of the feed-forward, and q, k, v, o.
  const int64_t call = 2 * 4 * 1024 + 4 * (2 * 1024 + 3 * 2816 + 4 * 1024), head = 2 * 4 * 1024;
  EXPECT_EQ(whole.activations, tokens * (100 * call + head));
  EXPECT_EQ(of(Sharding::kNone, Recompute::kLoop, 8).activations, tokens * (4 * 4096 + 25 * call + head));
  EXPECT_EQ(of(Sharding::kNone, Recompute::kLayer, 8).activations, tokens * (100 * 4096 + call + head));
  // Blocks of one layer: attention_pattern 0:1.
  EXPECT_EQ(of(Sharding::kNone, Recompute::kBlock, 8).activations,
            of(Sharding::kNone, Recompute::kLayer, 8).activations);
  EXPECT_EQ(of(Sharding::kZero1, Recompute::kNone, 8).moments, (8 * P + 7) / 8);
  EXPECT_EQ(of(Sharding::kZero1, Recompute::kNone, 1).moments, 8 * P);
  const auto shared = of(Sharding::kFull, Recompute::kNone, 8);
  EXPECT_EQ(shared.weights, 4 * (outside + 25 * layer / 8 + layer));
  EXPECT_EQ(shared.activations, of(Sharding::kNone, Recompute::kLayer, 8).activations);
  EXPECT_LT(shared.packed, whole.packed);
  EXPECT_LT(shared.gradients, whole.gradients);
  // The sums of earlier micro-steps, and the gradients of this one.
  auto accumulating = config;
  accumulating.grad_acc_steps = 2;
  EXPECT_EQ(rank_memory(model, accumulating, Sharding::kNone, Recompute::kNone, 1).gradients, 8 * P);
}

TEST(Plan, NeedsNoVocabularyFile) {
  const std::vector<std::string> missing = {"data.tokenizer.path=/no/such/words.model"};
  const auto file = recipe("600M/looped_pure_gdn_600M");
  EXPECT_TRUE(training_plan(planned(file, 1, missing), 1).starts_with("parameters       637409433\n"));
  try {
    training_plan(planned(file, 1, {missing[0], "model.vocab_size=-1"}), 1);
    ADD_FAILURE() << "expected an error";
  } catch (const Error& e) {
    EXPECT_TRUE(has(e.what(), "model.vocab_size is -1 and data.tokenizer.path /no/such/words.model does not exist"))
        << e.what();
  }
  try {
    training_plan(planned(recipe("tiny/gdn"), 1, {"model.vocab_size=300"}), 1);
    ADD_FAILURE() << "expected an error";
  } catch (const Error& e) {
    EXPECT_TRUE(has(e.what(), "model.vocab_size is 300, the tokenizer bytes has 258 words")) << e.what();
  }
}

// ---- Three real steps ----

class ScaledDown : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    fs::create_directories(root_ / "fineweb_edu");
    std::ofstream text(root_ / "tinyshakespeare.txt"), chunk(root_ / "fineweb_edu" / "fineweb_edu.chunk.00.jsonl");
    for (int i = 0; i < 200; ++i) {
      text << "line " << i << ": the quick brown fox jumps over the lazy dog\n";
      chunk << "{\"text\": \"document " << i << ": the quick brown fox jumps over the lazy dog\"}\n";
    }
    clear_stop_signal();
    // With so little work threads would only wait for each other.
    set_num_threads(1);
  }
  void TearDown() override {
    set_num_threads(allowed_cores());
    set_log_file("");
  }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

TEST_P(ScaledDown, TrainsThreeSteps) {
  std::vector<std::string> overrides = {"dump_dir=" + (root_ / "run").string(),
                                        "data.root_dir=" + root_.string(),
                                        "data.tokenizer.name=bytes",
                                        "data.tokenizer.path=null",
                                        "data.batch_size=1",
                                        "data.seq_len=48",
                                        "data.prefetch_size=4",
                                        "steps=3",
                                        "optim.warmup=1",
                                        "optim.lr=1e-3",
                                        "logging.freq=1",
                                        "checkpoint.dump.every=1000",
                                        "val.every=0",
                                        "model.vocab_size=-1",
                                        "model.dim=64",
                                        "model.n_heads=4",
                                        "model.multiple_of=16",
                                        "model.mamba2_d_state=8",
                                        "model.mla_kv_lora_rank=16",
                                        "model.mla_qk_rope_head_dim=8",
                                        "model.mla_qk_nope_head_dim=8",
                                        "model.mla_v_head_dim=8",
                                        "model.nsa_block_size=8",
                                        "model.nsa_block_counts=3",
                                        "model.nsa_window_size=12",
                                        "model.dsa_dim=16",
                                        "model.dsa_tail_dim=8",
                                        "model.dsa_topk=12",
                                        "model.dsa_score_dim=8",
                                        "model.dsa_index_head_dim=16",
                                        "model.dsa_index_rope_dim=8"};
  auto config = load_train_config(GetParam(), overrides);
  // As many layers as the layout needs.
  config.model.n_layers = config.model.layer_pattern.find(':') == std::string::npos ? 2 : 5;
  // Windows keep their order but fit the short sequence.
  if (config.model.default_sliding_window) config.model.default_sliding_window = 16;
  validate(config);
  ASSERT_EQ(config.model.loop_count, 4);
  EXPECT_EQ(Trainer(config).run(), Trainer::End::kFinished);
  std::ifstream metrics(root_ / "run" / "metrics.jsonl");
  std::vector<double> losses;
  for (std::string line; std::getline(metrics, line);) losses.push_back(nlohmann::json::parse(line).at("loss/out"));
  ASSERT_EQ(losses.size(), 3u);
  for (const double loss : losses) EXPECT_TRUE(std::isfinite(loss) && loss > 0 && loss < 20) << loss;
  EXPECT_NE(losses[2], losses[0]);
}

INSTANTIATE_TEST_SUITE_P(Recipes, ScaledDown, ::testing::ValuesIn(all_recipes()), [](const auto& test) {
  const fs::path path(test.param);
  return path.parent_path().filename().string() + "_" + path.stem().string();
});

}  // namespace
}  // namespace lt2
