// The live page's server through a real socket, also against clients that mean no good.
#include "report/live.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string line(int step, double loss, const std::string& more = "") {
  return fmt::format(
      R"({{"global_step":{},"loss/out":{},"optim/grad_norm":0.5,"speed/wps":1000,"optim/total_tokens":{}{},)"
      R"("created_at":"2026-05-20T12:{:02}:{:02}.500000+00:00"}})"
      "\n",
      step, loss, 64 * step, more, step / 60, step % 60);
}

class Folder : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void write(const std::string& name, const std::string& content) { write_file_atomically(folder_ / name, content); }
  void append(const std::string& content) { std::ofstream(folder_ / "metrics.jsonl", std::ios::app) << content; }
  test::TempFolder temporary_;
  fs::path folder_ = temporary_.path() / "run";
};

using Follower = Folder;

TEST_F(Follower, ReadsOnlyWhatIsComplete) {
  RunFollower follower(folder_);
  follower.refresh();
  EXPECT_TRUE(follower.run().train.empty());
  EXPECT_TRUE(std::isnan(follower.silent_s()));
  append(line(1, 3) + line(2, 2.5) + line(3, 2.25).substr(0, 20));
  follower.refresh();
  EXPECT_EQ(follower.run().train.size(), 2u);
  const auto version = follower.version();
  follower.refresh();
  EXPECT_EQ(follower.version(), version);
  append(line(3, 2.25).substr(20));
  follower.refresh();
  EXPECT_EQ(follower.run().train.rbegin()->second.loss, 2.25);
  EXPECT_GT(follower.version(), version);
  EXPECT_LT(follower.silent_s(), 60);
  EXPECT_EQ(follower.run().train.at(3).time - follower.run().train.at(1).time, 2);
}

TEST_F(Follower, AResumedRunTakesItsStepsBack) {
  append(line(1, 3) + line(2, 2) + line(3, 1));
  RunFollower follower(folder_);
  follower.refresh();
  const auto epoch = follower.epoch();
  write("metrics.jsonl", line(1, 3));
  append(line(2, 2.5));
  follower.refresh();
  EXPECT_EQ(follower.run().train.size(), 2u);
  EXPECT_EQ(follower.run().train.at(2).loss, 2.5);
  EXPECT_GT(follower.epoch(), epoch);
  const auto second = follower.epoch();
  append(line(1, 2.75));  // by a writer that appends only
  follower.refresh();
  EXPECT_EQ(follower.run().train.size(), 1u);
  EXPECT_GT(follower.epoch(), second);
}

TEST_F(Follower, ABrokenLineIsNamedAndWaitedFor) {
  append(line(1, 3) + "{broken}\n" + line(2, 2));
  RunFollower follower(folder_);
  for (int i = 0; i < 2; ++i) {
    try {
      follower.refresh();
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("metrics.jsonl:2: not a JSON object"), std::string::npos)
          << error.what();
    }
    EXPECT_EQ(follower.run().train.size(), 1u);
  }
  write("metrics.jsonl", line(1, 3) + line(2, 2));
  follower.refresh();
  EXPECT_EQ(follower.run().train.size(), 2u);
}

TEST_F(Follower, NeedsTheFolder) {
  EXPECT_THROW(RunFollower(folder_ / "typo"), Error);
  fs::create_directories(folder_ / "metrics.jsonl");
  RunFollower follower(folder_);
  EXPECT_THROW(follower.refresh(), Error);
}

class Live : public Folder {
 protected:
  void start() {
    server_ = std::make_unique<LiveServer>(folder_, 0);
    thread_ = std::thread([this] { server_->run([this] { return done_.load(); }); });
  }
  void TearDown() override {
    done_ = true;
    if (thread_.joinable()) thread_.join();
    server_.reset();
    Folder::TearDown();
  }

  int connected() const {
    const int client = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval patience{5, 0};
    ::setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return client;
  }
  static void send_all(int client, std::string_view text) {
    while (!text.empty()) {
      const auto sent = ::send(client, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  static std::string receive_all(int client) {
    std::string out;
    char buffer[4096];
    for (ssize_t got; (got = ::recv(client, buffer, sizeof buffer, 0)) > 0;) out.append(buffer, got);
    ::close(client);
    return out;
  }
  std::string ask(const std::string& request) const {
    const int client = connected();
    send_all(client, request);
    return receive_all(client);
  }
  std::string get(const std::string& target) const {
    return ask(fmt::format("GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", target, server_->port()));
  }
  static std::string body(const std::string& answer) { return answer.substr(answer.find("\r\n\r\n") + 4); }
  Json points(const std::string& query = "") const { return Json::parse(body(get("/points" + query))); }

  std::unique_ptr<LiveServer> server_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

#define EXPECT_STATUS(answer, status) EXPECT_EQ((answer).substr(0, 13), "HTTP/1.1 " status " ")

TEST_F(Live, WaitsForARunAndFollowsIt) {
  write("config.yaml", "name: x\nsteps: 100\nmodel:\n  steps: 7\n");
  start();
  const auto page = get("/");
  EXPECT_STATUS(page, "200");
  EXPECT_NE(page.find("id=\"live\""), std::string::npos);
  EXPECT_EQ(page.find("bench.jsonl"), std::string::npos);  // not missing, only not there yet
  auto now = points();
  EXPECT_EQ(now["state"], "waiting");
  EXPECT_TRUE(now["step"].is_null() && now["points"].empty());

  append(line(1, 3) + line(2, 2.5) + line(3, 2.25) + line(4, 2.125, R"(,"x":1)") + "{\"global");
  now = points();
  EXPECT_EQ(now["state"], "running");
  EXPECT_EQ(now["step"], 4);
  EXPECT_EQ(now["steps"], 100);
  EXPECT_EQ(now["loss"], 2.125);
  EXPECT_EQ(now["tokens_per_s"], 1000);
  EXPECT_EQ(now["left_s"], 96);  // a step a second, by the lines' times
  EXPECT_EQ(now["points"].size(), 4u);
  EXPECT_EQ(now["points"][0], Json::parse("[1,3,0.5,1000]"));
  const auto since = fmt::format("?after=3&epoch={}", now["epoch"].get<int64_t>());
  EXPECT_EQ(points(since)["points"], Json::parse("[[4,2.125,0.5,1000]]"));
  EXPECT_NE(get("/charts").find("Loss while training"), std::string::npos);

  write("metrics.jsonl", line(1, 3) + line(2, 2.5));  // resumed from step 2
  EXPECT_EQ(points(since)["points"].size(), 2u);
  append(line(100, 2));
  EXPECT_EQ(points()["state"], "finished");
}

TEST_F(Live, SaysThatTheRunIsSilentOrItsFilesBroken) {
  append(line(1, 3) + line(2, 3));
  fs::last_write_time(folder_ / "metrics.jsonl", fs::file_time_type::clock::now() - std::chrono::seconds(83));
  start();
  auto now = points();
  EXPECT_EQ(now["state"], "silent");
  EXPECT_NEAR(now["silent_s"].get<double>(), 83, 5);
  EXPECT_TRUE(now["left_s"].is_null());  // no configuration tells the steps
  append("[]\n");
  now = points();
  EXPECT_EQ(now["state"], "error");
  EXPECT_NE(now["error"].get<std::string>().find("metrics.jsonl:3"), std::string::npos);
  EXPECT_EQ(now["points"].size(), 2u);
  EXPECT_STATUS(get("/"), "200");
}

TEST_F(Live, LongRunsComeInPieces) {
  std::string lines;
  for (int step = 1; step <= 12000; ++step) lines += fmt::format("{{\"global_step\":{},\"loss/out\":NaN}}\n", step);
  append(lines);
  start();
  auto now = points();
  EXPECT_EQ(now["points"].size(), LiveServer::kMostPoints);
  EXPECT_EQ(now["more"], true);
  now = points(fmt::format("?after=10000&epoch={}", now["epoch"].get<int64_t>()));
  EXPECT_EQ(now["points"].size(), 2000u);
  EXPECT_EQ(now["more"], false);
  EXPECT_TRUE(now["points"][0][1].is_null());
}

TEST_F(Live, RefusesWhatItDoesNotServe) {
  append(line(1, 3));
  write("secret.txt", "secret");
  start();
  const std::string host = "Host: localhost\r\n\r\n";
  for (const char* target : {"/secret.txt", "/../secret.txt", "/..%2fsecret.txt", "//secret.txt", "/./", "/charts/",
                             "*", "http://127.0.0.1/", "/metrics.jsonl", "/%00", ""}) {
    const auto answer = get(target);
    EXPECT_STATUS(answer, "404") << target;
    EXPECT_EQ(answer.find("secret"), std::string::npos);
  }
  for (const char* method : {"POST", "PUT", "HEAD", "DELETE", "get", "OPTIONS"}) {
    const auto answer = ask(fmt::format("{} / HTTP/1.1\r\n{}", method, host));
    EXPECT_STATUS(answer, "405") << method;
    EXPECT_NE(answer.find("Allow: GET"), std::string::npos);
  }
  EXPECT_STATUS(ask("GET / HTTP/2.0\r\n" + host), "505");
  EXPECT_STATUS(ask("GET /\r\n" + host), "400");
  EXPECT_STATUS(ask("\r\n\r\n"), "400");
  EXPECT_STATUS(ask(std::string("\0\xff\x01 \n\n", 6)), "400");
  // A page of another name that resolves to this machine.
  EXPECT_STATUS(ask("GET / HTTP/1.1\r\nHost: evil.example:80\r\n\r\n"), "403");
  EXPECT_STATUS(ask("GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n"), "403");
  EXPECT_STATUS(ask("GET / HTTP/1.1\r\n\r\n"), "403");
  EXPECT_STATUS(ask("GET / HTTP/1.0\nhOST:\tLOCALHOST\n\n"), "403");
  EXPECT_STATUS(ask("GET / HTTP/1.0\nhOST:\t localhost:99\n\n"), "200");
}

TEST_F(Live, OddQueriesGiveAllPoints) {
  append(line(1, 3));
  start();
  for (const char* query : {"?", "?after", "?after=", "?after=x&epoch=y", "?after=nan", "?after=1e999&epoch=1",
                            "?&&&=&after=5&after=7", "?after=5;epoch=1", "?epoch=-1&after=9"}) {
    EXPECT_EQ(points(query)["points"].size(), 1u) << query;
  }
}

TEST_F(Live, BoundsTheRequest) {
  start();
  const std::string begin = "GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
  EXPECT_STATUS(ask(begin + std::string(500'000, 'x') + "\r\n\r\n"), "431");
  EXPECT_STATUS(ask(begin + std::string(LiveServer::kMostRequestBytes, 'x')), "431");  // and no end
  EXPECT_STATUS(ask(begin + std::string(LiveServer::kMostRequestBytes / 2, 'x') + "\r\n\r\n"), "200");
  const int endless = connected();
  for (int i = 0; i < 200; ++i) send_all(endless, std::string(1 << 14, '\n'));  // 3 MiB: the server hangs up
  EXPECT_LT(receive_all(endless).size(), 1000u);
  EXPECT_STATUS(get("/"), "200");
}

TEST_F(Live, HalfRequestsAndCrowdsKeepNobodyOut) {
  start();
  std::vector<int> crowd;
  for (size_t i = 0; i < 3 * LiveServer::kMostConnections; ++i) {
    crowd.push_back(connected());
    if (i % 2 == 0) send_all(crowd.back(), "GET / HT");
  }
  EXPECT_STATUS(get("/points"), "200");
  // Byte by byte is slow, not wrong.
  const int slow = connected();
  for (const char c : std::string("GET /points HTTP/1.1\r\nHost: localhost\r\n\r\n")) send_all(slow, std::string(1, c));
  EXPECT_STATUS(receive_all(slow), "200");
  for (const int client : crowd) ::close(client);
  // Clients that go without listening.
  for (int i = 0; i < 50; ++i) {
    const int gone = connected();
    send_all(gone, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const linger at_once{1, 0};
    ::setsockopt(gone, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    ::close(gone);
  }
  EXPECT_STATUS(get("/"), "200");
}

TEST_F(Live, APortInUseIsNamed) {
  start();
  try {
    LiveServer second(folder_, server_->port());
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(fmt::format("port {}: ", server_->port())), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(LiveServer(folder_, -1), Error);
  EXPECT_THROW(LiveServer(folder_, 65536), Error);
  EXPECT_EQ(server_->url(), fmt::format("http://127.0.0.1:{}/", server_->port()));
}

}  // namespace
}  // namespace lt2
