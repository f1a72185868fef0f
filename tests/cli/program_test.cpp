// The program as a user meets it: exit status and one clear line for everything that can be wrong.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/files.h"
#include "tests/support/program.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::Program;

TEST_F(Program, HelpShowsAnExampleForEveryCommand) {
  EXPECT_EQ(run("--help").status, 0);
  for (const char* command : {"train", "generate", "inspect", "check", "bench", "report", "data", "tokenize", "convert",
                              "quantize", "launch"}) {
    const auto result = run(std::string(command) + " --help");
    EXPECT_EQ(result.status, 0) << command;
    EXPECT_NE(result.out.find("example: lt2 " + std::string(command)), std::string::npos) << result.out;
    for (const auto& spelling :
         {std::string(command) + " -h", std::string(command) + " help", "help " + std::string(command)})
      EXPECT_EQ(run(spelling).out, result.out) << spelling;
  }
  EXPECT_EQ(run("benchmark_prefill --help").out, run("bench --help").out);
  // Words of the command that launch runs, and values, do not ask for the help of the first command.
  for (const char* line : {"launch --nproc 1 -- train --help", "launch --nproc 1 train --help"})
    EXPECT_EQ(run(line).out, run("train --help").out) << line;
  EXPECT_EQ(run("launch --nproc 1 -h").out, run("launch --help").out);
  expect_error("generate --prompt -h", {"ckpt"});
  expect_error("trian", {"trian", "--help"});
  expect_error("train --sede=1 config=tiny.yaml", {"unknown option --sede", "did you mean --seed"});
}

TEST_F(Program, TrainsGeneratesInspectsBenchesReports) {
  auto result = run("train config=tiny.yaml");
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err.find('\r'), std::string::npos) << "no terminal, no redrawn line";
  EXPECT_NE(result.err.find("4/4  loss"), std::string::npos) << result.err;
  result = run("generate ckpt=run prompt=line max_gen_len=12 temperature=0.7 top_k=5 seed=3");
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("state"), std::string::npos);
  EXPECT_EQ(run("generate ckpt=run prompt=line max_gen_len=12 temperature=0.7 top_k=5 seed=3").out, result.out);
  EXPECT_EQ(run("inspect ckpt=run").status, 0);
  EXPECT_EQ(run("inspect config=tiny.yaml model.dim=64").status, 0);
  result = run("bench ckpt=run,run label=full,other mode=decode contexts=16,64 seconds=0.05 output=run/bench.jsonl");
  ASSERT_EQ(result.status, 0) << result.err;
  result = run("report run");
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(read_file(root_ / "run" / "report.html").find("<svg"), std::string::npos);
  result = run("train config=tiny.yaml --dry-run");
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("FLOPs per token"), std::string::npos);
}

TEST_F(Program, BadInputIsOneClearLine) {
  expect_error("train", {"config=FILE"});
  expect_error("train config=nowhere.yaml", {"nowhere.yaml"});
  expect_error("train config=tiny.yaml model.atention_pattern=4:1", {"model.atention_pattern", "attention_pattern"});
  expect_error("train config=tiny.yaml model.dim=abc", {"model.dim", "abc"});
  expect_error("train config=tiny.yaml model.n_heads=5", {"n_heads", "5", "32"});
  expect_error("train config=tiny.yaml model.mixer=cot_gdp", {"model.mixer", "cot_gdp"});
  expect_error("train config=tiny.yaml distributed.model_dtype=fp16", {"fp16"});
  expect_error("train config=tiny.yaml 'data.sources={gone.txt: 1.0}' data.root_dir=/nowhere", {"gone.txt"});
  std::ofstream(root_ / "empty.txt").close();
  std::ofstream(root_ / "broken.jsonl") << "{\"text\": \"good\"}\n{\"body\": \"no text\"}\n";
  std::ofstream(root_ / "empty.yaml")
      << "dump_dir: x\ndata: {sources: {" << (root_ / "empty.txt").string()
      << ": 1}, add_bos: false, add_eos: false}\nmodel: {n_heads: 4, dim: 32}\ndistributed: {model_dtype: fp32}\n";
  std::ofstream(root_ / "broken.yaml") << "dump_dir: y\ndata: {sources: {" << (root_ / "broken.jsonl").string()
                                       << ": 1}}\nmodel: {n_heads: 4, dim: 32}\ndistributed: {model_dtype: fp32}\n";
  expect_error("train config=empty.yaml", {"empty.txt"});
  expect_error("train config=broken.yaml", {"broken.jsonl:2", "text"});
  expect_error("generate prompt=x", {"ckpt"});
  expect_error("generate ckpt=nowhere prompt=x", {"nowhere"});
  expect_error("generate ckpt=nowhere promt=x", {"promt", "prompt"});
  expect_error("inspect", {"ckpt=DIR"});
  expect_error("check nowhere", {"nowhere"});
  expect_error("report nowhere", {"nowhere"});
  expect_error("bench config=tiny.yaml contexts=abc", {"contexts", "abc"});
  expect_error("bench config=tiny.yaml contexts=16,", {"contexts", "16,"});
  expect_error("bench config=tiny.yaml output=/nowhere/b.jsonl", {"output", "/nowhere/b.jsonl"});
  expect_error("bench config=tiny.yaml batch=1,2", {"batch", "1,2"});
  expect_error("bench config=tiny.yaml,tiny.yaml", {"label=", "tiny, tiny"});
  expect_error("bench config=tiny.yaml,tiny.yaml label=a", {"label=", "2 models"});
  fs::create_directories(root_ / "a" / "Ouro-1.4B");
  fs::create_directories(root_ / "b" / "Ouro-1.4B");
  expect_error("bench ckpt=a/Ouro-1.4B,b/Ouro-1.4B/", {"label=", "found Ouro-1.4B, Ouro-1.4B"});
  for (const char* seconds : {"abc", "-1", "0", "inf", "1x"})
    expect_error(std::string("bench config=tiny.yaml seconds=") + seconds, {"seconds", seconds});
  expect_error("inspect foo", {"unexpected argument foo"});
  expect_error("inspect ckpt=g ckpt=g", {"ckpt is given twice"});
  expect_error("train config=tiny.yaml dump_dir=/proc/x", {"dump_dir", "/proc/x"});
  expect_error("train config=tiny.yaml checkpoint.path=/proc/zz", {"checkpoint.path", "/proc/zz"});
  for (const char* threads : {"abc", "0", "2x"})
    expect_error(std::string("train config=tiny.yaml env.OMP_NUM_THREADS=") + threads,
                 {"env.OMP_NUM_THREADS", threads});
  expect_error("train config=tiny.yaml 'optim.decay_exempt=[\"[\"]'", {"optim.decay_exempt", "["});
  expect_error("train config=tiny.yaml optim.lr=.inf", {"optim.lr", "finite"});
  expect_error("generate ckpt=x prompt=x device=cuda", {"device=cuda"});
  expect_error("generate ckpt=x prompt=x chat=true", {"chat"});
}

TEST_F(Program, ThreadCountsAreReadWithCare) {
  for (const char* threads : {"abc", "-3", "0", "1e9"}) {
    ::setenv("OMP_NUM_THREADS", threads, 1);
    expect_error("inspect config=tiny.yaml", {"OMP_NUM_THREADS", threads});
  }
  for (const char* threads : {"100000", "100000,2"}) {
    ::setenv("OMP_NUM_THREADS", threads, 1);
    const auto result = run("inspect");
    EXPECT_NE(result.err.find(fmt::format("OMP_NUM_THREADS: {} threads", threads)), std::string::npos) << result.err;
  }
  ::setenv("OMP_NUM_THREADS", "", 1);
  EXPECT_EQ(run("inspect config=tiny.yaml").status, 0);
  ::unsetenv("OMP_NUM_THREADS");
  const auto result = run("train config=tiny.yaml steps=2 env.OMP_NUM_THREADS=100000");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("env.OMP_NUM_THREADS: 100000 threads"), std::string::npos) << result.err;
}

TEST_F(Program, TooMuchMemoryIsOneClearLine) {
  expect_error("inspect config=tiny.yaml model.dim=10000000", {"out of memory"});
}

TEST_F(Program, AnErrorIsInTheLogFileToo) {
  expect_error("train config=tiny.yaml optim.lr=1e39", {"step 3: the loss is not finite"});
  const auto log = read_file(root_ / "run" / "train.log");
  EXPECT_NE(log.find("ERROR"), std::string::npos) << log;
  EXPECT_NE(log.find("step 3: the loss is not finite"), std::string::npos) << log;
}

TEST_F(Program, ValidationStandsInTheLineOfItsStep) {
  const auto result = run("train config=tiny.yaml val.every=2 logging.freq=1");
  ASSERT_EQ(result.status, 0) << result.err;
  for (int step = 1; step <= 4; ++step) {
    const auto begin = result.err.find(fmt::format(" {}/4  loss", step));
    ASSERT_NE(begin, std::string::npos) << result.err;
    const auto line = result.err.substr(begin, result.err.find('\n', begin) - begin);
    EXPECT_EQ(line.find("  val ") != std::string::npos, step >= 2) << line;
  }
}

TEST_F(Program, TheDemoKeepsWhatItDidNotWrite) {
  const auto demo = [&] {
    const auto command = fmt::format("'{}/scripts/demo.sh' /bin/true '{}/mine' >'{}/out' 2>'{}/err'", LT2_SOURCE_DIR,
                                     root_.string(), root_.string(), root_.string());
    return WEXITSTATUS(std::system(command.c_str()));
  };
  fs::create_directories(root_ / "mine");
  std::ofstream(root_ / "mine" / "weights") << "days of work";
  EXPECT_EQ(demo(), 1);
  EXPECT_NE(read_file(root_ / "err").find("is no earlier demo"), std::string::npos) << read_file(root_ / "err");
  EXPECT_EQ(read_file(root_ / "mine" / "weights"), "days of work");
  fs::remove_all(root_ / "mine");
  EXPECT_EQ(demo(), 0);
  EXPECT_EQ(demo(), 0);  // an earlier demo gives way
}

TEST_F(Program, CorruptCheckpointIsOneClearLine) {
  ASSERT_EQ(run("train config=tiny.yaml").status, 0);
  const auto weights = root_ / "run" / "checkpoints" / "0000000004" / "model.safetensors";
  const auto good = read_file(weights);
  std::ofstream(weights, std::ios::binary) << good.substr(0, good.size() / 2);
  expect_error("generate ckpt=run/checkpoints/0000000004 prompt=x", {"model.safetensors"});
  std::ofstream(weights, std::ios::binary) << std::string(8, '\xff') + good.substr(8);
  expect_error("generate ckpt=run/checkpoints/0000000004 prompt=x", {"model.safetensors"});
}

// Waits for the end of `child`, which must save, say how to continue and exit 0.
void expect_saved(pid_t child, const fs::path& root) {
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  const auto err = read_file(root / "err");
  EXPECT_EQ(WEXITSTATUS(status), 0) << err;
  EXPECT_NE(err.find("Run the same command again"), std::string::npos) << err;
  EXPECT_FALSE(fs::is_empty(root / "run" / "checkpoints"));
}

TEST_F(Program, TermSavesAndExitsZero) {
  const auto metrics = root_ / "run" / "metrics.jsonl";
  for (const int signal : {SIGTERM, SIGINT}) {
    fs::remove_all(root_ / "run");
    const pid_t child = start({"train", "config=tiny.yaml", "steps=1000000"});
    for (int i = 0; i < 600 && (!fs::exists(metrics) || fs::file_size(metrics) == 0); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ::kill(child, signal);
    expect_saved(child, root_);
  }
}

TEST_F(Program, ASignalWhileStartingSavesToo) {
  const pid_t child = start({"train", "config=tiny.yaml", "steps=1000000"});
  // The log file is opened before the model is built.
  for (int i = 0; i < 6000 && !fs::exists(root_ / "run" / "train.log"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  ::kill(child, SIGTERM);
  expect_saved(child, root_);
}

TEST_F(Program, CheckJudges) {
  auto result = run("check " LT2_TEST_DATA "/vectors/attention/full_gqa.safetensors --strict");
  EXPECT_EQ(result.status, 0) << result.out;
  EXPECT_NE(result.out.find("1 passed, 0 failed, 0 skipped"), std::string::npos);
  std::ofstream(root_ / "bad.safetensors") << "not a safetensors file";
  result = run("check bad.safetensors");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.out.find("0 passed, 1 failed, 0 skipped"), std::string::npos);
}

}  // namespace
}  // namespace lt2
