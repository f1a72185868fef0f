// Runs end to end on a few kilobytes of text: resume, checkpoints, stopping, non-finite losses.
#include "train/trainer.h"

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/signals.h"
#include "checkpoint/checksums.h"
#include "checkpoint/safetensors.h"
#include "model/model_io.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(root_);
    fs::create_directories(root_);
    std::ofstream text(root_ / "text.txt");
    for (int i = 0; i < 400; ++i) text << "line " << i << ": the quick brown fox jumps over the lazy dog\n";
    clear_stop_signal();
  }
  void TearDown() override {
    set_log_file("");
    clear_stop_signal();
    fs::remove_all(root_);
  }
  TrainConfig config(const std::string& run, const std::vector<std::string>& more = {}) {
    const std::string yaml =
        "name: test\nsteps: 6\ngrad_acc_steps: 2\n"
        "data: {seq_len: 32, batch_size: 2, prefetch_size: 4}\n"
        "optim: {lr: 0.003, warmup: 2}\n"
        "model: {dim: 32, n_layers: 2, n_heads: 2, multiple_of: 16, loop_count: 2, layer_pattern: "
        "'interleaved:1:1:gdn:full', attention_pattern: '1:1'}\n"
        "distributed: {model_dtype: fp32}\n"
        "checkpoint: {dump: {every: 2, keep: 2}, eval: {every: 1000}}\n"
        "logging: {freq: 1}\nval: {every: 3, steps: 2}\n";
    auto overrides = more;
    overrides.push_back("dump_dir=" + (root_ / run).string());
    overrides.push_back("data.sources={" + (root_ / "text.txt").string() + ": 1.0}");
    auto parsed = parse_train_config(yaml, "test.yaml", overrides);
    validate(parsed);
    return parsed;
  }
  static std::string weights(const fs::path& run, int64_t step) {
    return read_file(checkpoint_folder(run / "checkpoints", step) / "model.safetensors");
  }
  std::vector<nlohmann::json> lines(const fs::path& path) {
    std::ifstream file(path);
    std::vector<nlohmann::json> out;
    for (std::string line; std::getline(file, line);) out.push_back(nlohmann::json::parse(line));
    return out;
  }
  fs::path root_ = fs::temp_directory_path() / "lt2_trainer_test";
};

TEST_F(TrainerTest, WritesTheDumpDirectory) {
  EXPECT_EQ(Trainer(config("a")).run(), Trainer::End::kFinished);
  const auto run = root_ / "a";
  const auto metrics = lines(run / "metrics.jsonl");
  ASSERT_EQ(metrics.size(), 6u);
  for (const char* key : {"global_step", "acc_step", "speed/wps", "speed/FLOPS", "speed/loops", "optim/grad_norm",
                          "optim/lr", "optim/total_tokens", "loss/out", "created_at", "memory/max_active_gib"}) {
    EXPECT_TRUE(metrics[5].contains(key)) << key;
  }
  EXPECT_EQ(metrics[0].at("optim/lr"), 0);  // the first step of a warm-up
  EXPECT_EQ(metrics[5].at("optim/total_tokens"), 6 * 2 * 2 * 32);
  EXPECT_LT(metrics[5].at("loss/out").get<double>(), metrics[0].at("loss/out").get<double>());
  EXPECT_EQ(lines(run / "metrics.validation.jsonl").size(), 2u);
  // keep: 2 of the three dumps.
  EXPECT_EQ(complete_checkpoints(run / "checkpoints").size(), 2u);
  EXPECT_FALSE(fs::exists(checkpoint_folder(run / "checkpoints", 2)));
  // The written configuration makes the same run.
  auto again = load_train_config((run / "config.yaml").string(), {});
  EXPECT_EQ(again.model.vocab_size, 258);
  const auto loaded = load_model(run);
  EXPECT_EQ(loaded.config.steps, 6);
}

TEST_F(TrainerTest, InterruptedRunContinuesBitForBit) {
  for (const std::string layout : {"interleaved:1:1:gdn:full", "full"}) {
    fs::remove_all(root_ / "whole");
    fs::remove_all(root_ / "parts");
    const std::vector<std::string> more{
        "model.layer_pattern=" + layout,
        layout == "full" ? "model.attention_pattern=random:1:1" : "model.attention_pattern=1:1",
        "model.default_sliding_window=5"};
    clear_stop_signal();
    Trainer(config("whole", more)).run();
    // A signal before the first step ends the run after saving; every further start does one step before the signal is
    // seen.
    int starts = 0;
    for (auto end = Trainer::End::kInterrupted; end == Trainer::End::kInterrupted; ++starts) {
      ASSERT_LT(starts, 20);
      clear_stop_signal();
      auto part = config("parts", more);
      Trainer trainer(part);
      trainer.stop_after(starts % 2 + 1);
      end = trainer.run();
    }
    EXPECT_GT(starts, 2);
    EXPECT_TRUE(weights(root_ / "whole", 6) == weights(root_ / "parts", 6)) << layout;
    EXPECT_TRUE(read_file(checkpoint_folder(root_ / "whole" / "checkpoints", 6) / "optimizer.safetensors") ==
                read_file(checkpoint_folder(root_ / "parts" / "checkpoints", 6) / "optimizer.safetensors"));
    EXPECT_EQ(lines(root_ / "parts" / "metrics.jsonl").size(), 6u);
  }
}

TEST_F(TrainerTest, CorruptCheckpointFallsBackToTheOneBefore) {
  Trainer(config("a", {"steps=4"})).run();
  const auto expected = weights(root_ / "a", 4);
  const auto victim = checkpoint_folder(root_ / "a" / "checkpoints", 4) / "optimizer.safetensors";
  auto bytes = read_file(victim);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file_atomically(victim, bytes);
  Trainer(config("a", {"steps=4"})).run();
  EXPECT_TRUE(weights(root_ / "a", 4) == expected);
  EXPECT_NO_THROW(verify_checksums(checkpoint_folder(root_ / "a" / "checkpoints", 4)));
}

TEST_F(TrainerTest, NonFiniteLossStopsOrSkips) {
  // A learning rate that destroys the weights at the first step that moves them.
  const std::vector<std::string> bomb{"optim.lr=1e38", "optim.warmup=0", "optim.scheduler=constant",
                                      "checkpoint.dump.every=1"};
  try {
    Trainer(config("stop", bomb)).run();
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 2"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("0000000001"), std::string::npos) << error.what();
  }
  EXPECT_EQ(complete_checkpoints(root_ / "stop" / "checkpoints").size(), 1u);
  auto skip = bomb;
  skip.push_back("optim.nan_policy=skip");
  EXPECT_EQ(Trainer(config("skip", skip)).run(), Trainer::End::kFinished);
}

TEST_F(TrainerTest, ResumeWithAnotherShapeIsOneClearError) {
  Trainer(config("a", {"steps=3"})).run();
  try {
    Trainer(config("a", {"steps=3", "model.dim=64"}));
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tok_embeddings.weight is [258, 32], the model needs [258, 64]"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(TrainerTest, PlanNeedsNoTraining) {
  const auto text = Trainer::plan(config("a"));
  for (const char* word : {"parameters", "FLOPs per token", "tokens per step", "128", "memory"})
    EXPECT_NE(text.find(word), std::string::npos) << text;
  EXPECT_FALSE(fs::exists(root_ / "a"));
}

}  // namespace
}  // namespace lt2
