// The command lines of the official README, as their users type them: `lt2` in place of `python`, `lt2 torchrun` in
// place of `torchrun`.
#include "cli/official.h"

#include <sstream>

#include "base/error.h"
#include "cli/options.h"
#include "tests/support/program.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::Program;
using test::Result;

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream text(line);
  std::vector<std::string> words;
  for (std::string word; text >> word;) words.push_back(word);
  return words;
}

struct Line {
  std::string official, ours;
};

// All of them but those that set up a machine, fetch data and submit a file by hand.
const std::vector<Line> kLines = {
    {"-m lingua.stool script=apps.LT2.train config=apps/LT2/configs/600M/debug.yaml nodes=1 partition=p",
     "launch --slurm script=apps.LT2.train config=apps/LT2/configs/600M/debug.yaml nodes=1 partition=p"},
    {"torchrun --nproc-per-node 8 -m apps.LT2.train config=apps/LT2/configs/600M/debug.yaml",
     "launch --nproc 8 -- train config=apps/LT2/configs/600M/debug.yaml"},
    {"-m apps.LT2.train config=apps/LT2/configs/600M/debug.yaml", "train config=apps/LT2/configs/600M/debug.yaml"},
    {"-m lingua.stool script=apps.LT2.train config=apps/LT2/configs/1B/looped_hybrid_gdn_4to1_1B.yaml nodes=8 "
     "partition=p",
     "launch --slurm script=apps.LT2.train config=apps/LT2/configs/1B/looped_hybrid_gdn_4to1_1B.yaml nodes=8 "
     "partition=p"},
    {"torchrun --nproc-per-node 8 -m apps.LT2.train config=apps/LT2/configs/600M/looped_hybrid_gdn_4to1_600M.yaml "
     "model.loop_count=4 model.attention_pattern=4:1 model.default_sliding_window=2048",
     "launch --nproc 8 -- train config=apps/LT2/configs/600M/looped_hybrid_gdn_4to1_600M.yaml model.loop_count=4 "
     "model.attention_pattern=4:1 model.default_sliding_window=2048"},
    {"-m apps.LT2.generate ckpt=/path/to/checkpoint max_gen_len=256 temperature=0.7",
     "generate ckpt=/path/to/checkpoint max_gen_len=256 temperature=0.7"},
    {"-m apps.LT2.benchmark_prefill --config apps/LT2/configs/1B/looped_hybrid_gdn_4to1_1B.yaml --seq-len 8192",
     "bench mode=prefill,decode --config apps/LT2/configs/1B/looped_hybrid_gdn_4to1_1B.yaml --seq-len 8192"},
    {"-m apps.LT2.train config=apps/LT2/configs/600M/debug.yaml model.dim=1024 optim.lr=2e-4 name=my_run",
     "train config=apps/LT2/configs/600M/debug.yaml model.dim=1024 optim.lr=2e-4 name=my_run"},
    // The same by their names alone.
    {"stool config=c.yaml nodes=1", "launch --slurm config=c.yaml nodes=1"},
    {"benchmark_prefill --config c.yaml --seq-len 64", "bench mode=prefill,decode --config c.yaml --seq-len 64"},
    {"benchmark_prefill --config c.yaml mode=decode", "bench --config c.yaml mode=decode"},
    {"torchrun --nproc_per_node=2 -m apps.LT2.train config=c", "launch --nproc=2 -- train config=c"},
    // Ours stay as they are; so does what another program is given.
    {"launch --nproc 2 -- train config=c", "launch --nproc 2 -- train config=c"},
    {"generate ckpt=c prompt=stool", "generate ckpt=c prompt=stool"}};

TEST(OfficialLines, BecomeOurs) {
  for (const auto& [official, ours] : kLines) EXPECT_EQ(from_official(words_of(official)), words_of(ours)) << official;
}

TEST(OfficialLines, EvaluationIsNotHere) {
  for (const char* line :
       {"-m apps.LT2.eval config=c ckpt_dir=d", "torchrun --nproc-per-node 8 -m apps.LT2.eval config=c"}) {
    try {
      from_official(words_of(line));
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("there is no eval in this version"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(from_official({"-m"}), Error);
}

class Official : public Program {
 protected:
  // The official paths, each a small model; a SLURM that takes what the shell takes.
  void SetUp() override {
    Program::SetUp();
    const auto tiny = read_file(root_ / "tiny.yaml");
    for (const char* name :
         {"600M/debug.yaml", "600M/looped_hybrid_gdn_4to1_600M.yaml", "1B/looped_hybrid_gdn_4to1_1B.yaml"}) {
      const auto path = root_ / "apps/LT2/configs" / name;
      fs::create_directories(path.parent_path());
      std::ofstream(path) << tiny.substr(0, tiny.find("  n_layers: 2")) << "  n_layers: 10"
                          << tiny.substr(tiny.find("  n_layers: 2") + 13);
    }
    fs::create_directories(root_ / "bin");
    std::ofstream(root_ / "bin/sbatch") << "#!/bin/sh\nfor file; do :; done\nbash -n \"$file\"\n";
    fs::permissions(root_ / "bin/sbatch", fs::perms::owner_all);
  }
  // In which python is the program, and torchrun starts it on two ranks.
  Result typed(const std::string& line) {
    return shell(
        "export OMP_NUM_THREADS=1 PATH=\"$PWD/bin:$PATH\"\npython() { \"$LT2\" \"$@\"; }\n"
        "torchrun() { \"$LT2\" torchrun \"${@/#8/2}\"; }\n" +
        line);
  }
  void expect_works(const std::string& line) {
    const auto result = typed(line);
    EXPECT_EQ(result.status, 0) << line << "\n" << result.err;
  }
};

TEST_F(Official, LinesRun) {
  const std::string configs = "apps/LT2/configs/";
  expect_works("python -m lingua.stool script=apps.LT2.train config=" + configs +
               "600M/debug.yaml nodes=1 partition=p");
  fs::remove_all(root_ / "run");
  expect_works("torchrun --nproc-per-node 8 -m apps.LT2.train config=" + configs +
               "600M/looped_hybrid_gdn_4to1_600M.yaml model.loop_count=4 model.attention_pattern=\"4:1\" "
               "model.default_sliding_window=2048");
  fs::remove_all(root_ / "run");
  expect_works("python -m apps.LT2.train config=" + configs + "600M/debug.yaml model.dim=64 optim.lr=2e-4 name=my_run");
  expect_works("echo line | python -m apps.LT2.generate ckpt=run max_gen_len=8 temperature=0.7");
  const auto bench = typed("python -m apps.LT2.benchmark_prefill --config " + configs +
                           "1B/looped_hybrid_gdn_4to1_1B.yaml --seq-len 96 --seconds 0.02");
  EXPECT_EQ(bench.status, 0) << bench.err;
  for (const char* row : {"\nprefill  model                  96", "\ndecode   model                  96"})
    EXPECT_NE(bench.out.find(row), std::string::npos) << bench.out;
  EXPECT_EQ(bench.out.find("\ntrain "), std::string::npos) << bench.out;
}

TEST_F(Official, EveryKeyMayBeTypedWithDashes) {
  ASSERT_EQ(run("train --config tiny.yaml --steps 2 --model.loop-count=1 --dry-run").status, 0);
  EXPECT_FALSE(fs::exists(root_ / "run"));
  const auto ids = run("tokenize --in text.txt --per file --bos");
  EXPECT_EQ(ids.status, 0) << ids.err;
  EXPECT_EQ(ids.out, run("tokenize in=text.txt per=file bos=true").out);
  expect_error("tokenize --in", {"--in needs a value"});
  expect_error("tokenize --in --bos", {"--in needs a value"});
  expect_error("tokenize --inn text.txt", {"unknown option --inn", "did you mean --in?"});
  expect_error("bench --config tiny.yaml --seq-lne 8", {"unknown option --seq-lne", "did you mean --seq-len?"});
  expect_error("tokenize --per=lines", {"--per=lines", "line, file"});
}

}  // namespace
}  // namespace lt2
