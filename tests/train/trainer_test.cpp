// Runs end to end on a few kilobytes of text: resume, checkpoints, stopping, non-finite losses.
#include "train/trainer.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"
#include "train/plan.h"

#include <signal.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/threads.h"
#include "checkpoint/checksums.h"
#include "checkpoint/safetensors.h"
#include "folders/model_folder.h"
#include "folders/run_folder.h"
#include "tests/support/compare.h"
#include "tests/support/rank_file.h"
#include "tests/support/ranks.h"
#include "train/schedule.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::error_of;

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream text(root_ / "text.txt");
    for (int i = 0; i < 400; ++i) text << "line " << i << ": the quick brown fox jumps over the lazy dog\n";
    clear_stop_signal();
  }
  void TearDown() override {
    set_log_file("");
    clear_stop_signal();
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
  // Every file of a run with its bytes, the log aside.
  static std::map<std::string, std::string> files_of(const fs::path& run) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(run)) {
      if (entry.is_regular_file() && entry.path().filename() != "train.log")
        files[entry.path().string()] = read_file(entry.path());
    }
    return files;
  }
  static void flip_a_bit(const fs::path& path) {
    auto bytes = read_file(path);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    write_file_atomically(path, bytes);
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

// A signal in the middle of the first or a long step: the step is taken again, with the same batch, and the end is the
// same.
TEST_F(TrainerTest, AStepGivenUpIsTakenAgain) {
  const std::vector<std::string> two_steps{"steps=2", "optim.warmup=1", "val.every=0"};
  Trainer(config("whole", two_steps)).run();
  for (const int looks : {1, 3, 6, 9, 16}) {  // one before the step, then one at each layer
    const std::string run = "cut" + std::to_string(looks);
    {
      Trainer trainer(config(run, two_steps));
      trainer.stop_when([left = looks]() mutable { return left-- <= 0; });
      EXPECT_EQ(trainer.run(), Trainer::End::kInterrupted);
    }
    EXPECT_TRUE(has(read_file(root_ / run / "train.log"), "step 1 is given up half done")) << looks;
    Trainer(config(run, two_steps)).run();
    EXPECT_EQ(weights(root_ / run, 2), weights(root_ / "whole", 2)) << looks;
  }
}

// The same on two ranks, whichever rank the signal reaches, in every sharding.
TEST_F(TrainerTest, ASignalToAnyRankGivesUpTheStepOnAll) {
  set_num_threads(1);
  const auto train = [&](const std::string& run, const std::string& sharding, const std::function<bool(int)>& stop) {
    test::on_ranks(2, [&](const std::shared_ptr<Group>& group) {
      std::vector<std::string> more{"steps=2", "optim.warmup=1", "val.every=0", "distributed.fsdp_type=" + sharding};
      if (sharding == "full_shard") more.push_back("distributed.activation_checkpointing=layer");
      Trainer trainer(config(run, more), group);
      if (stop) trainer.stop_when([&, rank = group->rank()] { return stop(rank); });
      trainer.run();
    });
  };
  for (const std::string sharding : {"no_shard", "zero1", "zero2", "full_shard"}) {
    train("whole_" + sharding, sharding, {});
    for (const int signalled : {1, 2}) {  // 2: both
      SCOPED_TRACE(fmt::format("{}, signal to {}", sharding, signalled));
      const auto run = fmt::format("{}_{}", sharding, signalled);
      std::atomic<int> looks[2] = {0, 0};
      // Asked before the first step, then at each layer of it.
      train(run, sharding, [&](int rank) { return ++looks[rank] > 7 && (signalled == 2 || signalled == rank); });
      EXPECT_TRUE(has(read_file(root_ / run / "train.log"), "step 1 is given up half done"));
      EXPECT_NO_THROW(verify_checksums(checkpoint_folder(root_ / run / "checkpoints", 0)));
      train(run, sharding, {});
      EXPECT_EQ(weights(root_ / run, 2), weights(root_ / ("whole_" + sharding), 2));
      const auto moments = [&](const std::string& name) {
        return read_file(checkpoint_folder(root_ / name / "checkpoints", 2) / "optimizer.safetensors");
      };
      EXPECT_EQ(moments(run), moments("whole_" + sharding));
    }
  }
  set_num_threads(allowed_cores());
}

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
  const auto validation = lines(run / "metrics.validation.jsonl");
  ASSERT_EQ(validation.size(), 2u);
  EXPECT_TRUE(validation[0].contains("text.txt")) << validation[0];
  EXPECT_FALSE(metrics[5].contains("loss/indexer"));  // no mixer adds a loss
  // keep: 2 of the three dumps.
  EXPECT_EQ(complete_checkpoints(run / "checkpoints").size(), 2u);
  EXPECT_FALSE(fs::exists(checkpoint_folder(run / "checkpoints", 2)));
  // The written configuration makes the same run.
  auto again = load_train_config((run / "config.yaml").string(), {});
  EXPECT_EQ(again.model.vocab_size, 258);
  const auto loaded = open_model(run);
  EXPECT_EQ(loaded.run->steps, 6);
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
  flip_a_bit(victim);
  Trainer(config("a", {"steps=4"})).run();
  EXPECT_TRUE(weights(root_ / "a", 4) == expected);
  EXPECT_NO_THROW(verify_checksums(checkpoint_folder(root_ / "a" / "checkpoints", 4)));
}

TEST_F(TrainerTest, ADamagedOnlyCheckpointIsAnErrorThatLeavesTheRunAlone) {
  const auto run = root_ / "a", only = checkpoint_folder(run / "checkpoints", 3);
  const std::vector<std::function<void()>> damages{
      [&] { fs::resize_file(only / "model.safetensors", 5000); },
      [&] { flip_a_bit(only / "optimizer.safetensors"); },
      [&] { fs::remove(only / "checksums.json"); },
      [&] { fs::remove(only / "train_state.json"); },
  };
  for (const auto& damage : damages) {
    fs::remove_all(run);
    Trainer(config("a", {"steps=3", "checkpoint.dump.every=100"})).run();
    ASSERT_EQ(step_folders(run / "checkpoints").size(), 1u);
    damage();
    const auto before = files_of(run);
    const auto error = error_of([&] { Trainer(config("a", {"steps=8"})).run(); });
    EXPECT_TRUE(has(error, "no usable checkpoint")) << error;
    EXPECT_TRUE(files_of(run) == before);
  }
}

TEST_F(TrainerTest, ADamagedLaterCheckpointDoesNotCrowdOutSoundOnes) {
  Trainer(config("a", {"steps=4"})).run();
  const auto checkpoints = root_ / "a" / "checkpoints";
  flip_a_bit(checkpoint_folder(checkpoints, 4) / "model.safetensors");
  Trainer trainer(config("a", {"checkpoint.dump.every=1", "checkpoint.dump.keep=1"}));
  trainer.stop_after(1);
  trainer.run();
  EXPECT_NO_THROW(verify_checksums(checkpoint_folder(checkpoints, 3)));
  EXPECT_FALSE(fs::exists(checkpoint_folder(checkpoints, 2)));
}

// A process is killed at the first change that its pruning makes: no folder with a step's name is incomplete, and the
// next start removes the rest.
TEST_F(TrainerTest, AKillWhilePruningLeavesNoHalfCheckpoint) {
  Trainer(config("a", {"steps=4", "val.every=0"})).run();
  const auto checkpoints = root_ / "a" / "checkpoints", pruned = checkpoint_folder(checkpoints, 2);
  // So many files that their removal takes longer than the kill.
  for (int i = 0; i < 20000; ++i) std::ofstream(pruned / std::to_string(i));
  const auto files = [](const fs::path& folder) {
    return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
  };
  const auto all = files(pruned);
  const int events = ::inotify_init1(IN_CLOEXEC);
  ASSERT_GE(::inotify_add_watch(events, pruned.c_str(), IN_DELETE | IN_MOVE_SELF), 0);
  CheckpointConfig keep_one;
  keep_one.dump = {.every = 2, .keep = 1};
  keep_one.eval = {.every = 1000, .keep = 0};
  const pid_t child = ::fork();
  if (child == 0) {
    prune_checkpoints(checkpoints, 4, keep_one);
    ::_exit(0);
  }
  char event[4096];
  ASSERT_GT(::read(events, event, sizeof event), 0);
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ::close(events);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it was done before it was killed";
  EXPECT_TRUE(!fs::exists(pruned) || files(pruned) == all);
  const Trainer trainer(config("a", {"steps=4"}));
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(checkpoints)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{".lock", "0000000004"}));
}

TEST_F(TrainerTest, ASourceThatFailsOnOneRankLosesNoStep) {
  set_num_threads(1);
  const auto source = root_ / "lines.jsonl";
  const auto write_lines = [&](int bad) {
    std::ofstream file(source);
    for (int i = 0; i < 400; ++i) file << (i == bad ? "[" : "{") << "\"text\": \"line " << i << ": the quick fox\"}\n";
  };
  const auto train = [&](const std::string& run, const std::string& sharding, std::string* errors) {
    test::on_ranks(2, [&](const std::shared_ptr<Group>& group) {
      std::vector<std::string> more{"steps=30", "val.every=0", "checkpoint.dump.every=1000",
                                    "distributed.fsdp_type=" + sharding};
      if (sharding == "full_shard") more.push_back("distributed.activation_checkpointing=layer");
      auto with_lines = config(run, more);
      with_lines.data.sources = {{source.string(), 1.0}};
      const auto error = error_of([&] { Trainer(with_lines, group).run(); });
      if (errors) errors[group->rank()] = error;
    });
  };
  for (const std::string sharding : {"no_shard", "full_shard"}) {
    SCOPED_TRACE(sharding);
    write_lines(-1);
    train("whole_" + sharding, sharding, nullptr);
    write_lines(81);  // odd: rank 1 reads it
    std::string errors[2];
    train("cut_" + sharding, sharding, errors);
    EXPECT_EQ(errors[0], "");
    EXPECT_TRUE(has(errors[1], "lines.jsonl:82: ")) << errors[1];
    const auto saved = step_folders(root_ / ("cut_" + sharding) / "checkpoints");
    ASSERT_EQ(saved.size(), 1u);
    EXPECT_NO_THROW(verify_checksums(saved[0]));
    EXPECT_GT(saved[0].filename(), "0000000003");
    write_lines(-1);
    train("cut_" + sharding, sharding, nullptr);
    EXPECT_EQ(weights(root_ / ("cut_" + sharding), 30), weights(root_ / ("whole_" + sharding), 30));
  }
  set_num_threads(allowed_cores());
}

TEST_F(TrainerTest, OneProcessTrainsInADirectory) {
  const Trainer first(config("a"));
  const auto before = files_of(root_ / "a");
  const auto error = error_of([&] { Trainer(config("a")).run(); });
  EXPECT_TRUE(has(error, "another process trains in it")) << error;
  EXPECT_TRUE(files_of(root_ / "a") == before);
}

TEST_F(TrainerTest, OneRunWritesItsCheckpointsInAFolder) {
  const auto shared = "checkpoint.path=" + (root_ / "shared").string();
  Trainer first(config("a", {shared}));
  const auto error = error_of([&] { Trainer(config("b", {shared})).run(); });
  EXPECT_TRUE(has(error, (root_ / "shared").string() + ": another run writes its checkpoints there")) << error;
  EXPECT_TRUE(has(error, fmt::format("held by process {}", ::getpid()))) << error;
  EXPECT_TRUE(has(error, fmt::format("a run with dump_dir {}", (root_ / "a").string()))) << error;
  EXPECT_TRUE(step_folders(root_ / "shared").empty());
  first.run();
  EXPECT_NO_THROW(verify_checksums(checkpoint_folder(root_ / "shared", 6)));
  // Both in one folder is one lock.
  Trainer(config("c", {"checkpoint.path=" + (root_ / "c").string(), "steps=2", "optim.warmup=1"})).run();
}

TEST_F(TrainerTest, WhatAKilledRunWasWritingIsRemoved) {
  const auto left = root_ / "a/checkpoints/.0000000004.tmp-0123456789abcdef";
  fs::create_directories(left);
  std::ofstream(left / "model.safetensors") << "half";
  const Trainer trainer(config("a"));
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(TrainerTest, TokensAreCountedAcrossAChangeOfTheBatch) {
  {
    Trainer trainer(config("a"));
    trainer.stop_after(2);
    trainer.run();
  }
  Trainer(config("a", {"data.batch_size=4", "steps=3"})).run();
  const auto metrics = lines(root_ / "a" / "metrics.jsonl");
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(metrics[2].at("optim/total_tokens"), 2 * 128 + 256);
}

TEST_F(TrainerTest, ASignalBeforeTheFirstStepSavesAtOnce) {
  auto prompted = config("a", {"val.prompt=line"});
  Trainer trainer(prompted);
  catch_stop_signals();
  std::raise(SIGTERM);
  EXPECT_EQ(trainer.run(), Trainer::End::kInterrupted);
  EXPECT_NO_THROW(verify_checksums(checkpoint_folder(root_ / "a" / "checkpoints", 0)));
  EXPECT_FALSE(fs::exists(root_ / "a" / "samples.json"));  // an incomplete text is no sample
}

TEST_F(TrainerTest, TheLastGoodCheckpointHoldsFiniteWeights) {
  // Step 1 has learning rate 0, step 2 more than a float can hold.
  const auto error = error_of([&] {
    Trainer(config("a", {"optim.lr=1e39", "checkpoint.dump.every=1", "checkpoint.dump.keep=1"})).run();
  });
  EXPECT_TRUE(has(error, "step 2: the weights are not finite")) << error;
  const auto good = checkpoint_folder(root_ / "a" / "checkpoints", 1);
  EXPECT_TRUE(has(error, "The last good checkpoint is " + good.string())) << error;
  EXPECT_EQ(step_folders(root_ / "a" / "checkpoints"), std::vector<fs::path>{good});
  for (const auto& [name, parameter] : load_masters(open_model(good))->official_parameters())
    EXPECT_TRUE(parameter.isfinite().all().item<bool>()) << name;
}

TEST_F(TrainerTest, ANonFiniteValidationLossStops) {
  const auto error = error_of([&] {
    Trainer(config("a", {"optim.lr=1e38", "optim.warmup=0", "optim.scheduler=constant", "val.every=1",
                         "checkpoint.dump.every=1", "optim.nan_policy=skip"}))
        .run();
  });
  EXPECT_TRUE(has(error, "step 1: the validation loss is not finite")) << error;
  EXPECT_TRUE(has(error, "No checkpoint was written yet")) << error;
}

TEST_F(TrainerTest, NonFiniteLossStopsOrSkips) {
  // A learning rate that destroys the weights at the first step that moves them.
  const std::vector<std::string> bomb{"optim.lr=1e15", "optim.warmup=0", "optim.scheduler=constant",
                                      "checkpoint.dump.every=1"};
  const auto error = error_of([&] { Trainer(config("stop", bomb)).run(); });
  EXPECT_TRUE(has(error, "step 2: the loss is not finite")) << error;
  EXPECT_TRUE(has(error, "0000000001")) << error;
  EXPECT_FALSE(has(error, "gradient norm")) << error;  // unknown: there was no backward pass
  EXPECT_EQ(complete_checkpoints(root_ / "stop" / "checkpoints").size(), 1u);
  auto skip = bomb;
  skip.push_back("optim.nan_policy=skip");
  skip.push_back("val.every=0");
  EXPECT_EQ(Trainer(config("skip", skip)).run(), Trainer::End::kFinished);
  const auto metrics = lines(root_ / "skip" / "metrics.jsonl");
  EXPECT_TRUE(metrics[0].at("optim/grad_norm").is_number());
  EXPECT_TRUE(metrics[1].at("optim/grad_norm").is_null());
  skip.push_back("steps=20");
  const auto endless = error_of([&] { Trainer(config("endless", skip)).run(); });
  EXPECT_TRUE(has(endless, "step 11: the loss is not finite")) << endless;
  EXPECT_TRUE(has(endless, "as in the 9 steps before")) << endless;
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

// Trained weights mean another function under another value of any of these, although every shape stays.
TEST_F(TrainerTest, AnotherModelOfTheSameShapesIsRefused) {
  const std::vector<std::string> full{"steps=2", "optim.warmup=1", "val.every=0", "model.layer_pattern=full"};
  const auto with = [&](const std::string& change) {
    auto all = full;
    all.push_back(change);
    return all;
  };
  Trainer(config("a", full)).run();
  const std::map<std::string, std::string> changes{
      {"model.n_heads=4", "model.n_heads 2 -> 4"},
      {"model.rope_theta=5000", "model.rope_theta 10000.0 -> 5000.0"},
      {"model.norm_eps=1e-6", "model.norm_eps 1e-05 -> 1e-06"},
      {"model.attention_pattern=bookend:1", "model.attention_pattern \"1:1\" -> \"bookend:1\""},
      {"model.default_sliding_window=16", "model.default_sliding_window 2048 -> 16"},
      {"distributed.model_dtype=bf16", "distributed.model_dtype \"fp32\" -> \"bf16\""}};
  for (const auto& [change, named] : changes) {
    const auto before = files_of(root_ / "a");
    const auto error = error_of([&] { Trainer(config("a", with(change))); });
    EXPECT_TRUE(has(error, "0000000002: trained as another model of the same shapes: ")) << change << ": " << error;
    EXPECT_TRUE(has(error, named)) << error;
    EXPECT_TRUE(has(error, "checkpoint.allow_model_change=true")) << error;
    EXPECT_TRUE(files_of(root_ / "a") == before) << change;
    // The same holds for weights of another run.
    const auto init = "checkpoint.init_ckpt_path=" + (root_ / "a").string();
    auto from = with(change);
    from.push_back(init);
    EXPECT_TRUE(has(error_of([&] { Trainer(config("b", from)); }), named)) << change;
    from.push_back("checkpoint.allow_model_change=true");
    fs::remove_all(root_ / "b");
    EXPECT_EQ(error_of([&] { Trainer(config("b", from)); }), "") << change;
    EXPECT_TRUE(has(read_file(root_ / "b" / "train.log"), named)) << change;
  }
  // Allowed once: the permission does not stay in the run.
  Trainer(config("a", {"steps=3", "val.every=0", "optim.warmup=1", "model.layer_pattern=full", "model.rope_theta=5000",
                       "checkpoint.allow_model_change=true"}))
      .run();
  EXPECT_TRUE(has(read_file(root_ / "a" / "train.log"), "model.rope_theta 10000.0 -> 5000.0"));
  EXPECT_TRUE(has(error_of([&] { Trainer(config("a", full)); }), "model.rope_theta 5000.0 -> 10000.0"));
  EXPECT_FALSE(load_train_config((root_ / "a" / "config.yaml").string(), {}).checkpoint.allow_model_change);
  // Keys that do not change the function are accepted.
  EXPECT_EQ(error_of([&] {
              Trainer(config("a", {"steps=4", "val.every=0", "optim.warmup=1", "model.layer_pattern=full",
                                   "model.rope_theta=5000", "model.multiple_of=32", "model.dsa_kl_coef=2"}));
            }),
            "");
  EXPECT_TRUE(has(read_file(root_ / "a" / "train.log"), "model.multiple_of 16 -> 32, model.dsa_kl_coef 1.0 -> 2.0"));
}

// Keys of mixers that the model does not have are no part of its function.
TEST_F(TrainerTest, KeysOfOtherMixersAreOnlyTold) {
  Trainer(config("a", {"steps=2", "optim.warmup=1", "val.every=0", "model.attention_pattern=0:1"})).run();
  for (const char* change : {"model.nsa_window_size=300", "model.dsa_index_n_heads=8", "model.mamba2_d_state=32",
                             "model.kda_expand_v=1.5", "model.default_sliding_window=77"}) {
    EXPECT_EQ(
        error_of([&] {
          Trainer(config("a", {"steps=3", "optim.warmup=1", "val.every=0", "model.attention_pattern=0:1", change}));
        }),
        "")
        << change;
    const std::string key(change, std::string(change).find('='));
    EXPECT_TRUE(has(read_file(root_ / "a" / "train.log"), key)) << key;
  }
}

// A vocabulary of the same size with other words.
TEST_F(TrainerTest, AnotherVocabularyOfTheSameSizeIsRefused) {
  const auto write = [&](const std::string& name, const std::vector<std::string>& merged) {
    std::ofstream(root_ / name) << test::rank_file(merged);
    return (root_ / name).string();
  };
  const auto one = write("one.model", {"th", "in"}), other = write("other.model", {"ox", "br"});
  const auto with = [](const std::string& path, const std::string& more) {
    return std::vector<std::string>{"optim.warmup=1", "val.every=0", "data.tokenizer.name=tiktoken",
                                    "data.tokenizer.path=" + path, more};
  };
  Trainer(config("a", with(one, "steps=2"))).run();
  const auto error = error_of([&] { Trainer(config("a", with(other, "steps=3"))); });
  EXPECT_TRUE(has(error, "data.tokenizer.path")) << error;
  EXPECT_TRUE(has(error, "checkpoint.allow_model_change=true")) << error;
  const auto init = "checkpoint.init_ckpt_path=" + (root_ / "a").string();
  EXPECT_TRUE(has(error_of([&] { Trainer(config("b", with(other, init))); }), "data.tokenizer.path"));
  // The same words elsewhere are no change.
  fs::copy_file(one, root_ / "copy.model");
  EXPECT_EQ(error_of([&] { Trainer(config("a", with((root_ / "copy.model").string(), "steps=3"))); }), "");
  EXPECT_FALSE(has(read_file(root_ / "a" / "train.log"), "data.tokenizer.path"));
}

TEST_F(TrainerTest, AStartWithNothingToDoChangesAndWarnsOfNothing) {
  const std::vector<std::string> steps{"steps=4", "val.every=0"};
  Trainer(config("a", steps)).run();
  const auto before = read_file(root_ / "a" / "config.yaml");
  Trainer(config("a", {"steps=4", "val.every=0", "optim.weight_decay=0.2", "model.norm_eps=1e-2",
                       "checkpoint.allow_model_change=true"}))
      .run();
  EXPECT_EQ(read_file(root_ / "a" / "config.yaml"), before);
  EXPECT_FALSE(has(read_file(root_ / "a" / "train.log"), "the learning rate goes"))
      << read_file(root_ / "a" / "train.log");
}

TEST_F(TrainerTest, ACheckpointIsOfTheStepThatItsFolderNames) {
  Trainer(config("a", {"steps=2", "optim.warmup=1", "val.every=0"})).run();
  const auto folder = checkpoint_folder(root_ / "a" / "checkpoints", 2);
  auto state = nlohmann::ordered_json::parse(read_file(folder / "train_state.json"));
  state["step"] = 1;
  write_file_atomically(folder / "train_state.json", state.dump(2));
  fs::remove(folder / "checksums.json");
  write_checksums(folder);
  const auto error = error_of([&] { Trainer(config("a", {"steps=3", "val.every=0"})); });
  EXPECT_TRUE(has(error, "train_state.json: step: expected that of its folder, found 1")) << error;
}

TEST_F(TrainerTest, ChangedKeysAreListedOnResume) {
  const auto log = [&] { return read_file(root_ / "a" / "train.log"); };
  Trainer(config("a", {"steps=4", "val.every=0"})).run();
  EXPECT_FALSE(has(log(), "changed since"));
  Trainer(config("a", {"steps=4", "val.every=0"})).run();
  EXPECT_FALSE(has(log(), "changed since")) << log();
  const auto before = config("a", {"steps=4"});
  auto now = config("a", {"steps=20", "val.every=0", "optim.beta2=0.99", "optim.clip=0.5"});
  now.data.sources[0].second = 2;
  Trainer{now};
  EXPECT_TRUE(has(log(), "changed since step 4: steps 4 -> 20, ")) << log();
  EXPECT_TRUE(has(log(), "optim.clip 1.0 -> 0.5")) << log();
  EXPECT_TRUE(has(log(), "optim.beta2 0.95 -> 0.99")) << log();
  EXPECT_TRUE(has(log(), "data.sources {")) << log();
  // The cosine had come down; the longer one is still high.
  const double was = before.optim.lr * lr_factor(3, 4, before.optim), is = now.optim.lr * lr_factor(4, 20, now.optim);
  ASSERT_GT(is, 1.2 * was);
  EXPECT_TRUE(
      has(log(), fmt::format("the learning rate goes from {:.3g} at step 4 to {:.3g} at step 5, because of steps "
                             "4 -> 20\n",
                             was, is)))
      << log();
}

TEST_F(TrainerTest, APlanShowsAndRefusesSourcesAsAStartDoes) {
  const auto prepared = root_ / "prepared";
  fs::create_directories(prepared);
  for (const char* name : {"x.chunk.00.jsonl", "x.chunk.01.jsonl"})
    std::ofstream(prepared / name) << R"({"text": "some words"})" << '\n';
  auto plan = config("a", {"val.every=0"});
  EXPECT_TRUE(has(training_plan(plan, 1), "100 % of the documents from " + (root_ / "text.txt").string()));
  plan.data.sources = {{prepared.string(), 1.0}};
  EXPECT_TRUE(has(training_plan(plan, 2), "(2 chunk files)"));
  const auto error = error_of([&] { training_plan(plan, 1); });
  EXPECT_TRUE(has(error, "2 chunk files for 1 process")) << error;
  EXPECT_EQ(error, error_of([&] { Trainer{plan}; }));
  plan.data.sources = {{(root_ / "later").string(), 1.0}};
  EXPECT_TRUE(has(training_plan(plan, 1), "later (not there)"));
}

TEST_F(TrainerTest, PlanNeedsNoTraining) {
  const auto text = training_plan(config("a"), 1);
  for (const char* word : {"parameters", "FLOPs per token", "tokens per step", "128", "memory"})
    EXPECT_NE(text.find(word), std::string::npos) << text;
  EXPECT_FALSE(fs::exists(root_ / "a"));
}

}  // namespace
}  // namespace lt2
