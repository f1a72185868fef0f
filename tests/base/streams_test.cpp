// Standard output, lines that come in pieces, files that grow.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/append_file.h"
#include "base/error.h"
#include "base/files.h"
#include "base/input_stream.h"
#include "base/output.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::error_of;

class Streams : public ::testing::Test {
 protected:
  test::TempFolder temporary_;
  fs::path folder_ = temporary_.path();
};

// In a process of its own with standard output as `open` makes it: 0 if `act` says so.
int with_output(const std::function<int()>& open, const std::function<bool()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(STDOUT_FILENO);
    if (open() >= 0 && ::fcntl(STDOUT_FILENO, F_GETFD) < 0) ::_exit(9);
    prepare_standard_streams();
    ::_exit(act() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

TEST_F(Streams, EverythingIsWrittenInOrder) {
  const auto path = folder_ / "out";
  const auto open = [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT, 0600); };
  EXPECT_EQ(with_output(open,
                        [] {
                          print_out("{} and {}\n", 1, "two");
                          write_out(std::string(200000, 'x'));
                          write_out("\n");
                          flush_out();
                          return true;
                        }),
            0);
  EXPECT_EQ(read_file(path), "1 and two\n" + std::string(200000, 'x') + "\n");
}

TEST_F(Streams, AFailureIsThrownAndStays) {
  const auto full = [] { return ::open("/dev/full", O_WRONLY); };
  EXPECT_EQ(with_output(full,
                        [] {
                          write_out("text");  // not written yet
                          const std::string expected = "standard output: cannot write: No space left on device";
                          return error_of(flush_out) == expected && error_of(flush_out) == expected &&
                                 error_of([] { write_out("more"); }) == expected;
                        }),
            0);
  const auto closed = [] { return -1; };
  EXPECT_EQ(with_output(closed,
                        [] {
                          write_out("text");
                          return error_of(flush_out) == "standard output: cannot write: Bad file descriptor";
                        }),
            0);
}

TEST_F(Streams, AReaderThatIsGoneIsNoSignal) {
  const auto pipe_without_reader = [] {
    int ends[2];
    if (::pipe(ends) != 0) return -1;  // the writing end or the reading one is descriptor 1
    const int kept = ::fcntl(ends[1], F_DUPFD, 10);
    ::close(ends[0]);
    ::close(ends[1]);
    return ::dup2(kept, STDOUT_FILENO);
  };
  EXPECT_EQ(with_output(pipe_without_reader,
                        [] {
                          write_out("text");
                          try {
                            flush_out();
                          } catch (const OutputClosed&) {
                            return true;
                          }
                          return false;
                        }),
            0);
  EXPECT_EQ(with_output(pipe_without_reader,
                        [] {
                          end_of_closed_pipe();
                          return false;
                        }),
            100 + SIGPIPE);
}

TEST_F(Streams, ClosedDescriptorsAreTaken) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int number : {0, 1, 2}) ::close(number);
    prepare_standard_streams();
    const int next = ::open("/dev/null", O_RDONLY);
    char byte = 0;
    const bool unusable = ::read(0, &byte, 1) < 0 && ::write(1, "x", 1) < 0 && ::write(2, "x", 1) < 0;
    ::_exit(next > 2 && unusable ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(Streams, LinesComeInPieces) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  InputStream input("/dev/fd/" + std::to_string(ends[0]));
  const auto say = [&](const char* text) {
    ASSERT_EQ(::write(ends[1], text, std::strlen(text)), ::ssize_t(std::strlen(text)));
  };
  std::string line;
  EXPECT_FALSE(input.ready(0));
  say("one\n\ntw");
  EXPECT_TRUE(input.ready(0));
  ASSERT_TRUE(input.line(line));
  EXPECT_EQ(line, "one");
  EXPECT_TRUE(input.ready(0));
  ASSERT_TRUE(input.line(line));
  EXPECT_EQ(line, "");
  say("o\nthree\nlast");
  ::close(ends[1]);
  ASSERT_TRUE(input.line(line));
  EXPECT_EQ(line, "two");
  ASSERT_TRUE(input.line(line));
  EXPECT_EQ(line, "three");
  ASSERT_TRUE(input.line(line));
  EXPECT_EQ(line, "last");
  EXPECT_FALSE(input.line(line));
  ::close(ends[0]);
}

TEST_F(Streams, LongLinesAndTheRest) {
  const std::string longest(300001, 'a');
  write_file_atomically(folder_ / "text", longest + "\nb\nc\n");
  InputStream input((folder_ / "text").string());
  std::string line;
  ASSERT_TRUE(input.line(line));
  EXPECT_EQ(line, longest);
  EXPECT_EQ(input.rest(), "b\nc\n");
  EXPECT_FALSE(input.line(line));
  EXPECT_EQ(InputStream("/dev/null").rest(), "");
  EXPECT_EQ(error_of([&] { InputStream stream(folder_.string()); }),
            folder_.string() + ": expected a regular file, found a folder");
}

TEST_F(Streams, LinesAreAppendedWhole) {
  const auto path = folder_ / "lines";
  std::vector<pid_t> writers;
  for (char letter = 'a'; letter < 'd'; ++letter) {
    writers.push_back(::fork());
    if (writers.back() != 0) continue;
    AppendFile file(path);
    for (int i = 0; i < 100; ++i) file.append(std::string(5000, letter) + "\n");
    ::_exit(0);
  }
  for (const pid_t writer : writers) ::waitpid(writer, nullptr, 0);
  InputStream input(path.string());
  int count = 0;
  for (std::string line; input.line(line); ++count) {
    ASSERT_EQ(line.size(), 5000u);
    ASSERT_EQ(line.find_first_not_of(line[0]), std::string::npos);
  }
  EXPECT_EQ(count, 300);
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { AppendFile file(folder_ / "fifo"); }),
            (folder_ / "fifo").string() + ": cannot open it for appending: nobody reads from it");
  EXPECT_EQ(error_of([&] { AppendFile("/dev/full").append("x"); }),
            "/dev/full: cannot append to it: No space left on device");
}

}  // namespace
}  // namespace lt2
