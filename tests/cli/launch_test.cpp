// Several ranks on this machine, as a user starts, stops and kills them.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/support/processes.h"
#include "tests/support/program.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class Launch : public test::Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    fs::create_directory(root_ / "tmp");
  }
  std::vector<std::string> variables() { return {"TMPDIR=" + (root_ / "tmp").string()}; }
  pid_t launch(std::vector<std::string> more = {}) {
    std::vector<std::string> words{"launch",
                                   "--nproc",
                                   "2",
                                   "--max-restarts",
                                   "3",
                                   "--",
                                   "train",
                                   "config=tiny.yaml",
                                   "steps=1000000",
                                   "distributed.timeout_s=60"};
    words.insert(words.end(), more.begin(), more.end());
    return start(words, "", variables());
  }
  std::string err(const std::string& suffix = "") { return read_file(root_ / ("err" + suffix)); }
  bool says(const std::string& text, const std::string& suffix = "") {
    return fs::exists(root_ / ("err" + suffix)) && err(suffix).find(text) != std::string::npos;
  }
  bool trains() {
    const auto metrics = root_ / "run" / "metrics.jsonl";
    return fs::exists(metrics) && fs::file_size(metrics) > 0;
  }
  // The variables of one rank, as torchrun sets them.
  static std::vector<std::string> as_rank(int rank, int world, int port) {
    return {fmt::format("RANK={}", rank),
            fmt::format("LOCAL_RANK={}", rank),
            fmt::format("WORLD_SIZE={}", world),
            fmt::format("LOCAL_WORLD_SIZE={}", world),
            "MASTER_ADDR=localhost",
            fmt::format("MASTER_PORT={}", port)};
  }
};

TEST_F(Launch, AStopIsFinalWheneverItComes) {
  int signal = SIGINT;
  for (const auto delay : {0ms, 40ms, 120ms, 200ms, 300ms, 700ms}) {
    SCOPED_TRACE(delay.count());
    fs::remove_all(root_ / "run");
    const pid_t launcher = launch();
    // Once the launcher takes signals: before that it is a program like any other.
    ASSERT_TRUE(test::within(60, [&] { return test::rank_of(launcher, 0) > 0; }));
    std::this_thread::sleep_for(delay);
    ::kill(launcher, signal);
    const auto status = test::exit_status(launcher, 40);
    ASSERT_TRUE(status) << err();
    EXPECT_TRUE(*status == 0 || *status == 128 + signal) << *status << "\n" << err();
    EXPECT_FALSE(says("Starting again")) << err();
    EXPECT_FALSE(says("internal")) << err();
    EXPECT_TRUE(fs::is_empty(root_ / "tmp")) << "the ranks' meeting place";
    signal = signal == SIGINT ? SIGTERM : SIGINT;
  }
}

TEST_F(Launch, AStopBetweenFailureAndRestartIsFinal) {
  const pid_t launcher = start({"launch", "--nproc", "2", "--max-restarts", "1000", "--", "train", "config=gone.yaml"});
  ASSERT_TRUE(test::within(60, [&] { return says("(2 of 1000)"); })) << err();
  ::kill(launcher, SIGTERM);
  const auto status = test::exit_status(launcher, 20);
  ASSERT_TRUE(status) << "it goes on and on";
  EXPECT_TRUE(*status == 1 || *status == 128 + SIGTERM) << *status;
}

TEST_F(Launch, ASecondInterruptKillsARankThatHangs) {
  const pid_t launcher = launch();
  ASSERT_TRUE(test::within(60, [&] { return trains(); })) << err();
  const pid_t hangs = test::rank_of(launcher, 1);
  ASSERT_GT(hangs, 0);
  ::kill(hangs, SIGSTOP);
  ::kill(launcher, SIGINT);
  std::this_thread::sleep_for(300ms);
  ::kill(launcher, SIGINT);
  EXPECT_EQ(test::exit_status(launcher, 10), 128 + SIGINT) << err();
  EXPECT_FALSE(says("Starting again")) << err();
}

TEST_F(Launch, NothingListensOnOtherAddresses) {
  const pid_t launcher = launch();
  std::set<std::string> seen;
  const bool trained = test::within(60, [&] {
    for (const int rank : {0, 1}) {
      if (const pid_t pid = test::rank_of(launcher, rank); pid > 0) {
        for (const auto& address : test::listening(pid)) seen.insert(address);
      }
    }
    return trains();
  });
  ::kill(launcher, SIGTERM);
  EXPECT_EQ(test::exit_status(launcher, 40), 0) << err();
  EXPECT_TRUE(trained) << err();
  for (const auto& address : seen) EXPECT_TRUE(test::is_loopback(address)) << address;
}

// A socket's path has 107 bytes at most, and TMPDIR may be anything.
TEST_F(Launch, RanksMeetWhateverTmpdirIs) {
  const auto deep = root_ / std::string(120, 'd');
  fs::create_directories(deep);
  fs::create_directories(root_ / "here");
  for (const std::string& place : {deep.string(), std::string("here"), std::string("/nowhere/at/all")}) {
    fs::remove_all(root_ / "run");
    const pid_t launcher =
        start({"launch", "--nproc", "2", "--", "train", "config=tiny.yaml", "steps=2"}, "", {"TMPDIR=" + place});
    EXPECT_EQ(test::exit_status(launcher, 90), 0) << place << "\n" << err();
  }
}

TEST_F(Launch, WhatAKilledLauncherLeftGoesWithTheNext) {
  const pid_t killed = launch();
  ASSERT_TRUE(test::within(60, [&] { return trains(); })) << err();
  ASSERT_FALSE(fs::is_empty(root_ / "tmp"));
  ::kill(killed, SIGKILL);
  test::exit_status(killed, 10);
  std::this_thread::sleep_for(1s);  // its ranks end with it
  fs::remove_all(root_ / "run");
  const pid_t next = launch({"steps=2", "dump_dir=" + (root_ / "next").string()});
  EXPECT_EQ(test::exit_status(next, 60), 0) << err();
  EXPECT_TRUE(fs::is_empty(root_ / "tmp"));
}

TEST_F(Launch, AClosedTerminalStopsTheJob) {
  const pid_t launcher = launch();
  ASSERT_TRUE(test::within(60, [&] { return trains(); })) << err();
  ::kill(launcher, SIGHUP);
  EXPECT_EQ(test::exit_status(launcher, 40), 0) << err();
  EXPECT_TRUE(fs::is_empty(root_ / "tmp"));
}

// Also when torchrun starts the ranks.
TEST_F(Launch, RanksOfOneMachineMeetOnLoopback) {
  const int port = test::free_port();
  const pid_t rank = start({"train", "config=tiny.yaml"}, "0", as_rank(0, 2, port));
  std::vector<std::string> seen;
  EXPECT_TRUE(test::within(60, [&] { return !(seen = test::listening(rank)).empty(); })) << err("0");
  for (const auto& address : seen) EXPECT_TRUE(test::is_loopback(address)) << address;
  ::kill(rank, SIGTERM);
  EXPECT_TRUE(test::exit_status(rank, 10)) << err("0");
}

TEST_F(Launch, AStrayByteKeepsNoRankFromEnding) {
  const int port = test::free_port();
  std::vector<pid_t> ranks;
  for (const int rank : {0, 1})
    ranks.push_back(start({"train", "config=tiny.yaml", "steps=1000000", "distributed.timeout_s=100"},
                          std::to_string(rank), as_rank(rank, 2, port)));
  ASSERT_TRUE(test::within(60, [&] { return trains(); })) << err("0") << err("1");
  std::vector<int> strays;
  for (int i = 0; i < 3; ++i) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const char byte = static_cast<char>(i);
    ASSERT_EQ(::send(socket, &byte, 1, MSG_NOSIGNAL), 1);
    strays.push_back(socket);
  }
  std::this_thread::sleep_for(500ms);
  for (const pid_t rank : ranks) ::kill(rank, SIGTERM);
  for (size_t r = 0; r < ranks.size(); ++r) EXPECT_EQ(test::exit_status(ranks[r], 20), 0) << err(std::to_string(r));
  for (const int socket : strays) ::close(socket);
}

// Its validation text takes seconds to tokenize: it leaves that, but not the others.
TEST_F(Launch, ASignalToOneRankWhileItStartsStopsAll) {
  std::ofstream(root_ / "slow.json") << test::kSlowTokenizer;
  std::ofstream(root_ / "text.txt") << std::string(5'000, 'b');
  std::ofstream(root_ / "slow.txt") << std::string(150'000, 'a');
  const int port = test::free_port();
  std::vector<pid_t> ranks;
  for (const int rank : {0, 1})
    ranks.push_back(start(
        {"train", "config=tiny.yaml", "data.tokenizer.name=hf", "data.tokenizer.path=slow.json", "data.add_bos=false",
         "data.add_eos=false", "data.sources={text.txt: 1.0}", "val.source=slow.txt", "val.every=1"},
        std::to_string(rank), as_rank(rank, 2, port)));
  ASSERT_TRUE(test::within(60, [&] { return says("text.txt", "0"); })) << err("0") << err("1");
  ::kill(ranks[1], SIGTERM);
  for (size_t r = 0; r < ranks.size(); ++r) EXPECT_EQ(test::exit_status(ranks[r], 60), 0) << err(std::to_string(r));
  EXPECT_TRUE(says("stopped after step 0", "0")) << err("0");
}

TEST_F(Launch, ARankThatWaitsSaysForWhomAndEndsAtASignal) {
  const int port = test::free_port();
  const pid_t first = start({"train", "config=tiny.yaml"}, "0", as_rank(0, 3, port));
  ASSERT_TRUE(test::within(60, [&] {
    return says("waiting for ranks 1, 2 at 127.0.0.1:" + std::to_string(port), "0");
  })) << err("0");
  // A second one comes; the third is still missing. A signal to one rank stops them all.
  const pid_t second = start({"train", "config=tiny.yaml"}, "1", as_rank(1, 3, port));
  ASSERT_TRUE(test::within(60, [&] { return says("waiting for rank 2 at", "1"); })) << err("1");
  ::kill(second, SIGTERM);
  EXPECT_EQ(test::exit_status(second, 5), 0) << err("1");
  EXPECT_EQ(test::exit_status(first, 5), 0) << err("0");
  EXPECT_TRUE(says("stopped by signal 15 (Terminated) while waiting for rank 2 at", "1")) << err("1");
  EXPECT_TRUE(says("stopped by a signal to another rank while waiting for", "0")) << err("0");
}

TEST_F(Launch, ARankWithoutItsFirstOneEndsAtASignal) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const pid_t rank = start({"train", "config=tiny.yaml"}, "1", as_rank(1, 2, test::free_port()));
    std::this_thread::sleep_for(1500ms);
    ::kill(rank, signal);
    const auto status = test::exit_status(rank, 5);
    ASSERT_TRUE(status) << err("1");
    EXPECT_EQ(*status, 0) << err("1");
    EXPECT_TRUE(says("while waiting for rank 0 at 127.0.0.1:", "1")) << err("1");
    EXPECT_FALSE(says("Interrupted system call", "1")) << err("1");
  }
}

TEST_F(Launch, ARankWhoseFirstOneHangsEndsAtASignal) {
  const int port = test::free_port();
  const pid_t first = start({"train", "config=tiny.yaml"}, "0", as_rank(0, 3, port));
  ASSERT_TRUE(test::within(60, [&] { return says("waiting for ranks 1, 2 at", "0"); })) << err("0");
  ::kill(first, SIGSTOP);
  const pid_t second = start({"train", "config=tiny.yaml"}, "1", as_rank(1, 3, port));
  std::this_thread::sleep_for(4s);
  ::kill(second, SIGTERM);
  const auto status = test::exit_status(second, 5);
  ::kill(first, SIGKILL);
  test::exit_status(first, 5);
  ASSERT_TRUE(status) << err("1");
  EXPECT_EQ(*status, 0) << err("1");
}

TEST_F(Launch, ALostRankIsReplacedWheneverItDies) {
  for (const auto delay : {0ms, 300ms, 700ms}) {
    SCOPED_TRACE(delay.count());
    fs::remove_all(root_ / "run");
    const pid_t launcher = launch({"steps=40", "checkpoint.dump.every=5"});
    ASSERT_TRUE(test::within(60, [&] { return test::rank_of(launcher, 1) > 0; }));
    std::this_thread::sleep_for(delay);
    if (const pid_t lost = test::rank_of(launcher, 1); lost > 0) ::kill(lost, SIGKILL);
    EXPECT_EQ(test::exit_status(launcher, 60), 0) << err();
    EXPECT_TRUE(says("rank 1 was killed by signal 9") || says("done: ")) << err();
    EXPECT_TRUE(fs::exists(root_ / "run" / "checkpoints" / "0000000040")) << err();
  }
}

TEST_F(Launch, AJobFileKeepsEveryNameOneWord) {
  fs::create_directory(root_ / "bin");
  const auto program = [&](const std::string& name, const std::string& body) {
    std::ofstream(root_ / "bin" / name) << "#!/bin/bash\n" << body;
    fs::permissions(root_ / "bin" / name, fs::perms::owner_all);
  };
  const auto folder = root_ / "it's $(touch pwned) `touch pwned` \"x\" \xc3\xa4\xe2\x82\xac ${y}";
  program("my sbatch", "cp \"$1\" job; printf '%s' \"$1\" >script-name; exit 3\n");
  program("srun", "for last; do :; done; printf '%s' \"$last\" >last-word\n");
  const std::string given =
      "'" + std::string(root_ / "it'\\''s $(touch pwned) `touch pwned` \"x\" \xc3\xa4\xe2\x82\xac ${y}") + "'";
  const auto result = run("launch --slurm config=tiny.yaml nodes=1 ngpu=0 dump_dir=" + given +
                          " 'launcher=bin/my sbatch' 'account=a;touch pwned'");
  EXPECT_EQ(result.status, 3) << result.err;
  EXPECT_EQ(read_file(root_ / "script-name"), (folder / "submit.slurm").string());
  EXPECT_EQ(std::system(("cd '" + root_.string() + "' && PATH=\"$PWD/bin:$PATH\" bash ./job").c_str()), 0);
  EXPECT_EQ(read_file(root_ / "last-word"), "config=" + (folder / "base_config.yaml").string());
  EXPECT_FALSE(fs::exists(root_ / "pwned"));
  // The configuration next to it names the same folder.
  fs::copy_file(folder / "base_config.yaml", root_ / "base.yaml");
  EXPECT_EQ(run("train config=base.yaml steps=2").status, 0) << read_file(root_ / "err");
  EXPECT_TRUE(fs::exists(folder / "metrics.jsonl"));
  expect_error("launch --slurm config=tiny.yaml nodes=1 --dry-run dump_dir=other 'account=a\n#SBATCH --uid=0'",
               {"account", "control characters", "a\\n#SBATCH"});
}

}  // namespace
}  // namespace lt2
