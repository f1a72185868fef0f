// Progress bar and log lines on a pipe and on a pseudo terminal.
#include "base/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <regex>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

// What `act` writes to stderr, into `write_end`, as `read_end` shows it.
std::string captured(int read_end, int write_end, const std::function<void()>& act) {
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(write_end, STDERR_FILENO);
  act();
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::string text(1 << 16, '\0');
  pollfd ready{read_end, POLLIN, 0};
  size_t size = 0;
  while (::poll(&ready, 1, 0) > 0 && (ready.revents & POLLIN)) {
    const ssize_t got = ::read(read_end, text.data() + size, text.size() - size);
    if (got <= 0) break;
    size += static_cast<size_t>(got);
  }
  text.resize(size);
  return text;
}

std::string on_pipe(const std::function<void()>& act) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const std::string text = captured(ends[0], ends[1], act);
  ::close(ends[0]);
  ::close(ends[1]);
  return text;
}

std::string on_terminal(int columns, const std::function<void()>& act) {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) return "no terminal";
  const int slave = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  const winsize size{24, static_cast<unsigned short>(columns), 0, 0};
  ::ioctl(slave, TIOCSWINSZ, &size);
  ::setenv("TERM", "xterm", 1);
  const std::string text = captured(master, slave, act);
  ::close(slave);
  ::close(master);
  return text;
}

void steps(int64_t count, int64_t plain_every) {
  ProgressBar bar("step", count, plain_every);
  for (int64_t i = 1; i <= count; ++i) bar.update(i, "loss " + std::to_string(i));
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ProgressBar, PlainLinesElsewhere) {
  EXPECT_FALSE(on_pipe([] { EXPECT_FALSE(stderr_is_terminal()); }).size());
  const std::string text = on_pipe([] { steps(5, 2); });
  EXPECT_TRUE(std::regex_match(text, std::regex("40 % step 2/5  loss 2  0:00 left\n80 % step 4/5  loss 4  0:00 left\n"
                                                "100 % step 5/5  loss 5\n")))
      << text;
}

TEST(ProgressBar, LastLineOnlyOnce) {
  EXPECT_EQ(on_pipe([] { steps(1, 1); }), "100 % step 1/1  loss 1\n");
  EXPECT_EQ(on_pipe([] { steps(1000, 0); }), "100 % step 1000/1000  loss 1000\n");
  EXPECT_EQ(on_pipe([] { ProgressBar bar("step", 10, 1); }), "");
}

TEST(ProgressBar, UnknownTotalHasNoShare) {
  EXPECT_EQ(on_pipe([] {
              ProgressBar bar("token", 0, 1);
              bar.update(7, "");
            }),
            "token 7\n");
}

TEST(ProgressBar, ResumedRunsCountFromTheirStart) {
  const std::string text = on_pipe([] {
    ProgressBar bar("step", 100, 1, 90);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    bar.update(91, "");
  });
  // 0.2 s a step since the start of this run: about 2 s for the 9 that are left, not 0.02 s.
  EXPECT_TRUE(std::regex_match(text, std::regex("91 % step 91/100  0:0[2-9] left\n"))) << text;
}

TEST(ProgressBar, RedrawsOneLineOnATerminal) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string text = on_terminal(60, [] { steps(2000, 1); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (text == "no terminal") GTEST_SKIP() << "no pseudo terminals here";
  EXPECT_EQ(count_of(text, "\n"), 1u);
  EXPECT_LE(static_cast<double>(count_of(text, "\r\033[K")), 10 * seconds + 2) << "more than ten a second";
  EXPECT_NE(text.find("\r\033[K[----------] 0 % step 1/2000  loss 1"), std::string::npos) << text;
  EXPECT_NE(text.find("\r\033[K[##########] 100 % step 2000/2000  loss 2000"), std::string::npos) << text;
}

TEST(ProgressBar, CutToTheWidth) {
  const std::string text = on_terminal(30, [] {
    ProgressBar bar("step", 10, 1);
    bar.update(10, "a long text that cannot fit");
  });
  if (text == "no terminal") GTEST_SKIP() << "no pseudo terminals here";
  const std::string line = "\r\033[K[##########] 100 % step 10/10";  // 29 columns
  EXPECT_EQ(text, line + line + "\r\n");
  // Two-byte letters: counted as one column, cut whole.
  const std::string letters = on_terminal(30, [] {
    ProgressBar bar("e", 1, 1);
    bar.update(1, "\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc");
  });
  const std::string last = letters.substr(letters.rfind("\r\033[K") + 4);
  size_t columns = 0;
  for (const char c : last) columns += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  EXPECT_EQ(columns, 29u + 2u) << last;  // and "\r\n"
  EXPECT_EQ(last.substr(last.size() - 4, 2).at(0), '\xc3') << last;
}

TEST(ProgressBar, LogLinesStandAboveIt) {
  const std::string text = on_terminal(60, [] {
    ProgressBar bar("step", 10, 1);
    log_info("before the first draw");
    bar.update(5, "");
    log_warning("disk at {} %", 90);
    bar.finish();
    log_info("after");
  });
  if (text == "no terminal") GTEST_SKIP() << "no pseudo terminals here";
  EXPECT_EQ(text.rfind("before the first draw\r\n", 0), 0u) << text;
  EXPECT_NE(text.find("\r\033[Kwarning: disk at 90 %\r\n\r\033[K[#####-----] 50 % step 5/10"), std::string::npos)
      << text;
  EXPECT_NE(text.find("\r\nafter\r\n"), std::string::npos) << text;
}

class LogFile : public ::testing::Test {
 protected:
  void TearDown() override {
    set_log_file("");
    set_log_rank(0);
  }
  test::TempFolder temporary_;
  std::filesystem::path folder_ = temporary_.path();
};

TEST_F(LogFile, LinesHaveStamps) {
  const auto path = folder_ / "train.log";
  write_file_atomically(path, "an earlier run\n");
  const std::string shown = on_pipe([&] {
    set_log_file(path.string());
    log_info("step {}", 1);
    set_log_rank(3);
    log_warning("slow");
    log_line(LogLevel::kError, "broken");
    set_log_file("");
    log_info("of rank 3: not shown");
    set_log_rank(0);
    log_info("not in the file");
  });
  EXPECT_EQ(shown, "step 1\nwarning: slow\nerror: broken\nnot in the file\n");
  const std::string stamp = R"( \d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} - \d+:\d\d:\d\d - )";
  const std::regex expected("an earlier run\n0: INFO   " + stamp + "step 1\n3: WARNING" + stamp + "slow\n3: ERROR  " +
                            stamp + "broken\n");
  EXPECT_TRUE(std::regex_match(read_file(path), expected)) << read_file(path);
}

TEST_F(LogFile, CannotBeOpened) { EXPECT_THROW(set_log_file((folder_ / "none/train.log").string()), Error); }

TEST_F(LogFile, WhatAFileHoldsIsOneLine) {
  const auto path = folder_ / "log";
  const std::string shown = on_pipe([&] {
    set_log_file(path.string());
    log_info("found \"{}\"", "a\nerror: b\t\x1b[2J\x7f\u00e9");
    set_log_file("");
  });
  EXPECT_EQ(shown, "found \"a\\nerror: b\\t\\x1b[2J\\x7f\u00e9\"\n");
  EXPECT_EQ(read_file(path).find('\n'), read_file(path).size() - 1);
}

TEST_F(LogFile, AFullDiskDoesNotEndTheRun) {
  const std::string shown = on_pipe([] {
    set_log_file("/dev/full");
    log_info("one");
    log_info("two");
  });
  EXPECT_EQ(shown,
            "one\nwarning: cannot write the log file any more: /dev/full: cannot append to it: No space left on "
            "device\ntwo\n");
}

TEST_F(LogFile, ThreadsDoNotMixLines) {
  const auto path = folder_ / "train.log";
  on_pipe([&] {
    set_log_file(path.string());
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([] {
        for (int i = 0; i < 50; ++i) log_info("a line of its own");
      });
    for (auto& thread : threads) thread.join();
  });
  EXPECT_EQ(count_of(read_file(path), " - a line of its own\n"), 200u);
}

}  // namespace
}  // namespace lt2
