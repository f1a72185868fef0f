// Data, tokens, checkpoints in other forms, several ranks: through the program.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/support/program.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::Program;

TEST_F(Program, PreparedDataTrains) {
  std::ofstream lines(root_ / "docs.jsonl");
  for (int i = 0; i < 400; ++i) lines << "{\"text\": \"document " << i << " about foxes and dogs\"}\n";
  lines.close();
  const auto prepared =
      run("data prepare in=docs.jsonl out=chunks name=docs nchunks=2 validation_lines=10 --memory 1M");
  ASSERT_EQ(prepared.status, 0) << prepared.err;
  EXPECT_TRUE(fs::exists(root_ / "chunks/docs.chunk.00.jsonl"));
  EXPECT_TRUE(fs::exists(root_ / "chunks/docs.val.jsonl"));
  // Two ranks, a chunk file each.
  const auto trained =
      run("launch --nproc 2 -- train config=tiny.yaml data.root_dir=. 'data.sources.chunks=1' steps=2 val.every=2 "
          "val.source=chunks distributed.fsdp_type=zero1");
  // The file's own source stays: a dotted key adds.
  EXPECT_EQ(trained.status, 0) << trained.err;
  EXPECT_NE(trained.err.find("50 % of the documents from ./chunks (2 chunk files)\n"), std::string::npos)
      << trained.err;
  // One rank would leave a file unread; a whole map replaces all sources.
  expect_error("train config=tiny.yaml dump_dir=one data.root_dir=. 'data.sources={chunks: 1}'",
               {"2 chunk files for 1 process", "nchunks=1", "data.allow_unread_chunks"});
  const auto alone = run(
      "train config=tiny.yaml dump_dir=one data.root_dir=. 'data.sources={chunks: 1}' data.allow_unread_chunks=true");
  EXPECT_EQ(alone.status, 0) << alone.err;
  EXPECT_NE(alone.err.find("100 % of the documents from ./chunks (2 chunk files)\n"), std::string::npos) << alone.err;
  EXPECT_NE(trained.err.find("2 ranks, zero1"), std::string::npos) << trained.err;
  expect_error("data prepare in=docs.jsonl out=chunks name=other", {"chunks"});
  expect_error("data prepare in=missing.jsonl out=c name=n", {"missing.jsonl"});
  expect_error("data prepare in=docs.jsonl out=c name=n --memory 2X", {"--memory", "2X"});
}

TEST_F(Program, TokensThereAndBack) {
  const fs::path ranks = fs::path(LT2_TEST_DATA) / "tokenizer/gpt2/gpt2.tiktoken";
  ASSERT_TRUE(fs::exists(ranks));
  const std::string which = "tokenizer=tiktoken specials=gpt2 path='" + ranks.string() + "' ";
  const auto ids = run("tokenize " + which + "in=text.txt out=ids.txt");
  ASSERT_EQ(ids.status, 0) << ids.err;
  const auto text = run("tokenize " + which + "mode=decode in=ids.txt out=back.txt");
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(read_file(root_ / "back.txt"), read_file(root_ / "text.txt"));
  expect_error("tokenize tokenizer=tiktoken path=none in=text.txt", {"none"});
}

// Of the whole text or of its first line; elsewhere the character is text.
TEST_F(Program, TokensOfATextAreWithoutItsByteOrderMark) {
  const std::string mark = "\xef\xbb\xbf";
  std::ofstream(root_ / "bom.txt") << mark << "ab\n" << mark << "c\n";
  std::ofstream(root_ / "mark.txt") << mark;
  EXPECT_EQ(run("tokenize in=bom.txt").out, "97 98\n239 187 191 99\n");
  EXPECT_EQ(shell("\"$LT2\" tokenize <bom.txt").out, "97 98\n239 187 191 99\n");
  EXPECT_EQ(run("tokenize in=bom.txt per=file").out, "97 98 10 239 187 191 99 10\n");
  EXPECT_EQ(run("tokenize in=mark.txt").out, "\n");
  EXPECT_EQ(run("tokenize in=mark.txt per=file").out, "\n");
}

TEST_F(Program, ConvertsThereAndBack) {
  ASSERT_EQ(run("train config=tiny.yaml").status, 0);
  for (const char* step : {"in=run out=official to=official", "in=official out=hf to=hf", "in=hf out=back to=lt2"}) {
    const auto result = run(std::string("convert ") + step);
    ASSERT_EQ(result.status, 0) << step << "\n" << result.err;
  }
  EXPECT_EQ(read_file(root_ / "back/model.safetensors"),
            read_file(root_ / "run/checkpoints/0000000004/model.safetensors"));
  expect_error("convert in=run out=official to=official", {"official"});
  expect_error("convert in=run out=x to=gguf", {"to", "gguf"});
}

// All ranks save together on a signal, and a run of two ranks continues on one rank.
TEST_F(Program, RanksStopTogetherAndGoOnAsOne) {
  const pid_t child = start({"launch", "--nproc", "2", "--", "train", "config=tiny.yaml", "steps=100000",
                             "distributed.fsdp_type=full_shard", "logging.freq=1"});
  const auto metrics = root_ / "run/metrics.jsonl";
  for (int i = 0; i < 600 && !fs::exists(metrics); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ::kill(child, SIGTERM);
  int status = -1;
  ::waitpid(child, &status, 0);
  const auto err = read_file(root_ / "err");
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << err;
  EXPECT_NE(err.find("saved"), std::string::npos) << err;
  const auto resumed = run("train config=tiny.yaml steps=100000 --dry-run");
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  const auto folder = fs::directory_iterator(root_ / "run/checkpoints")->path().filename().string();
  const auto alone = run(fmt::format("train config=tiny.yaml steps={}", std::stoll(folder) + 2));
  EXPECT_EQ(alone.status, 0) << alone.err;
  EXPECT_NE(alone.err.find("it is of 2 ranks, there are 1 now"), std::string::npos) << alone.err;
}

// A rank is killed; the launcher names it and starts again, and the run ends as if nothing had been.
TEST_F(Program, ALostRankIsNamedAndTheRunStartsAgain) {
  const pid_t child = start({"launch", "--nproc", "2", "--max-restarts", "1", "--", "train", "config=tiny.yaml",
                             "steps=400", "checkpoint.dump.every=5", "checkpoint.dump.keep=2"});
  const auto first = root_ / "run/checkpoints/0000000005";
  for (int i = 0; i < 600 && !fs::exists(first); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  // The second child of the launcher is rank 1.
  const auto children = read_file(fmt::format("/proc/{0}/task/{0}/children", child));
  const auto victim = static_cast<pid_t>(std::stol(children.substr(children.find(' ') + 1)));
  ASSERT_EQ(::kill(victim, SIGKILL), 0) << children;
  int status = -1;
  ::waitpid(child, &status, 0);
  const auto err = read_file(root_ / "err");
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << err;
  EXPECT_NE(err.find("rank 1 was killed by signal 9"), std::string::npos) << err;
  EXPECT_NE(err.find("Starting again from the last checkpoint (1 of 1)"), std::string::npos) << err;
  EXPECT_TRUE(fs::exists(root_ / "run/checkpoints/0000000400"));
}

TEST_F(Program, LaunchErrorsAreOneClearLine) {
  expect_error("launch -- train config=tiny.yaml", {"--nproc"});
  expect_error("launch --nproc two -- train config=tiny.yaml", {"--nproc", "two"});
  expect_error("launch --slurm nodes=1", {"config=FILE"});
  expect_error("launch --slurm config=tiny.yaml dump_dir=job nodes=1 nodez=2 --dry-run", {"nodez", "nodes"});
  const auto result = run("launch --slurm config=tiny.yaml dump_dir=job nodes=2 ngpu=0 --nproc 4 --dry-run");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(read_file(root_ / "job/submit.slurm").find("srun -n 8 -N 2"), std::string::npos);
  EXPECT_TRUE(fs::exists(root_ / "job/base_config.yaml"));
  expect_error("launch --slurm config=tiny.yaml dump_dir=job nodes=2 --dry-run", {"job", "dirs_exists_ok"});
}

TEST_F(Program, TracesChosenSteps) {
  ASSERT_EQ(
      run("train config=tiny.yaml profiling.run=true profiling.profile_warmup=1 profiling.profile_steps=2").status, 0);
  EXPECT_FALSE(fs::is_empty(root_ / "run/profiling"));
  EXPECT_FALSE(fs::is_empty(root_ / "run/tensorboard"));
  EXPECT_NE(read_file(root_ / "run/metrics.jsonl").find("optim/grad_norm/layers.1"), std::string::npos);
}

}  // namespace
}  // namespace lt2
