// `lt2 report --live` through the program: a page from the port that it says it took, until a signal.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <charconv>
#include <chrono>
#include <thread>

#include "tests/support/program.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::Program;

// The whole answer to a GET of `path`; what came so far if the server stays silent for 10 s.
std::string get(uint16_t port, const std::string& path) {
  const int peer = ::socket(AF_INET, SOCK_STREAM, 0);
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(peer, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    const auto request = fmt::format("GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", path, port);
    ::send(peer, request.data(), request.size(), MSG_NOSIGNAL);
    char block[4096];
    for (ssize_t got = 0; (got = ::recv(peer, block, sizeof(block), 0)) > 0;)
      answer.append(block, static_cast<size_t>(got));
  }
  ::close(peer);
  return answer;
}

// The port that the program says on its standard output, in `out`.
uint16_t port_said(const fs::path& out) {
  const std::string_view before = "http://127.0.0.1:";
  std::string said;
  for (int i = 0; i < 600 && said.find('\n') == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (fs::exists(out)) said = read_file(out);
  }
  uint16_t port = 0;
  if (const auto at = said.find(before); at != std::string::npos)
    std::from_chars(said.data() + at + before.size(), said.data() + said.size(), port);
  EXPECT_GT(port, 0) << said;
  return port;
}

// A pipe's writer may never come: the page says so, and the server continues.
TEST_F(Program, LiveReportDoesNotWaitForAPipe) {
  fs::create_directories(root_ / "run");
  ASSERT_EQ(::mkfifo((root_ / "run/metrics.jsonl").c_str(), 0600), 0);
  const pid_t child = start({"report", "run", "--live", "port=0"});
  const auto port = port_said(root_ / "out");
  const auto points = get(port, "/points");
  EXPECT_NE(points.find("metrics.jsonl: expected a regular file, found a pipe"), std::string::npos) << points;
  fs::remove(root_ / "run/metrics.jsonl");
  fs::create_symlink("metrics.jsonl", root_ / "run/metrics.jsonl");
  EXPECT_NE(get(port, "/points").find("Too many levels of symbolic links"), std::string::npos);
  fs::remove(root_ / "run/metrics.jsonl");
  EXPECT_NE(get(port, "/points").find("waiting"), std::string::npos);
  ::kill(child, SIGTERM);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(Program, LiveReportServesThePageUntilASignal) {
  fs::create_directories(root_ / "run");
  std::ofstream(root_ / "run" / "metrics.jsonl")
      << R"({"global_step":1,"loss/out":2.875,"optim/grad_norm":0.5,"speed/wps":1000,"optim/total_tokens":64,)"
         R"("created_at":"2026-05-20T12:00:01.500000+00:00"})"
      << "\n";
  const pid_t child = start({"report", "run", "--live", "port=0"});
  const auto port = port_said(root_ / "out");
  const auto page = get(port, "/");
  EXPECT_EQ(page.find("HTTP/1.1 200"), 0u) << page.substr(0, 200);
  EXPECT_NE(page.find("the loss from 2.88 to 2.88"), std::string::npos);
  EXPECT_NE(page.find("</html>"), std::string::npos) << "cut short after " << page.size() << " bytes";
  EXPECT_EQ(get(port, "/nothing").find("HTTP/1.1 404"), 0u);
  ::kill(child, SIGTERM);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status << read_file(root_ / "err");
  EXPECT_EQ(get(port, "/"), "");  // the port is free again
}

}  // namespace
}  // namespace lt2
