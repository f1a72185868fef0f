// The meeting point: what it answers, whom it does not wait for, where it listens.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/signals.h"
#include "base/units.h"
#include "distributed/group.h"
#include "distributed/meeting_server.h"
#include "distributed/meeting_store.h"
#include "distributed/waiting.h"
#include "tests/support/compare.h"
#include "tests/support/processes.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(Wire, FramesComeBackWhole) {
  const std::vector<std::vector<std::string>> frames = {{}, {""}, {"a"}, {"set", std::string("\0\xff", 2), ""}};
  std::string bytes;
  for (const auto& frame : frames) bytes += wire::pack(frame);
  std::string arrived;
  std::vector<std::vector<std::string>> taken;
  for (const char byte : bytes) {
    arrived += byte;
    while (auto frame = wire::take_frame(arrived, 100)) taken.push_back(*frame);
  }
  EXPECT_EQ(taken, frames);
  EXPECT_TRUE(arrived.empty());
}

TEST(Wire, NonsenseIsRefused) {
  for (std::string bytes : {std::string("\xff\xff\xff\xff", 4), std::string("\x03\0\0\0abc", 7),
                            std::string("\x04\0\0\0\x09\0\0\0", 8), std::string("\x05\0\0\0\x02\0\0\0a", 9)})
    EXPECT_THROW(wire::take_frame(bytes, 1000), Error);
}

// At a Unix socket and at a port of loopback.
class Meeting : public ::testing::TestWithParam<bool> {
 protected:
  ProcessLayout layout(int rank, int world) const {
    ProcessLayout out{.rank = rank, .world = world, .job = {}};
    if (GetParam()) out.master_addr = (folder_ / "meeting").string();
    if (!GetParam()) out.master_port = port_;
    return out;
  }
  test::TempFolder temporary_;
  std::filesystem::path folder_ = temporary_.path();
  int port_ = test::free_port();
};

std::vector<uint8_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }

TEST_P(Meeting, KeepsKeysForAll) {
  const MeetingServer server(layout(0, 2));
  const auto a = c10::make_intrusive<MeetingStore>(layout(0, 2), 5);
  const auto b = c10::make_intrusive<MeetingStore>(layout(1, 2), 5);
  a->set("x", bytes(std::string("\0one", 4)));
  EXPECT_EQ(b->get("x"), bytes(std::string("\0one", 4)));
  a->set("x", {});
  EXPECT_EQ(b->get("x"), bytes(""));
  EXPECT_TRUE(b->check({"x"}));
  EXPECT_FALSE(b->check({"x", "y"}));
  EXPECT_EQ(a->add("n", 5), 5);
  EXPECT_EQ(b->add("n", -7), -2);
  EXPECT_EQ(a->getNumKeys(), 2);
  EXPECT_TRUE(a->deleteKey("x"));
  EXPECT_FALSE(a->deleteKey("x"));
  a->set("long", std::vector<uint8_t>(500000, 7));
  EXPECT_EQ(b->get("long").size(), 500000U);
  std::thread later([&] {
    std::this_thread::sleep_for(100ms);
    a->set("late", bytes("z"));
  });
  EXPECT_EQ(b->get("late"), bytes("z"));
  later.join();
  EXPECT_THROW(b->wait({"never"}, 50ms), Error);
}

TEST_P(Meeting, StraysCostNobodyAnything) {
  auto server = std::make_unique<MeetingServer>(layout(0, 1));
  const auto store = c10::make_intrusive<MeetingStore>(layout(0, 1), 5);
  std::vector<wire::Socket> strays;
  const auto hello = wire::pack(wire::kHello);
  for (const auto& words :
       {std::string("x"), std::string(), hello.substr(0, 7), hello + "\x09", hello + wire::pack({"no such request"}),
        hello + wire::pack({}), std::string(100000, '\xff'), std::string("GET / HTTP/1.1\r\n\r\n"),
        wire::pack({"set", "x", "not greeted"})}) {
    strays.push_back(wire::connect_to(layout(0, 1), 1000));
    ASSERT_TRUE(strays.back());
    ::send(strays.back().get(), words.data(), words.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    store->set("y", bytes(words));
    EXPECT_EQ(store->get("y"), bytes(words));
  }
  for (int i = 0; i < 200; ++i) strays.push_back(wire::connect_to(layout(0, 1), 1000));  // who say nothing
  store->set("z", {});
  EXPECT_FALSE(store->check({"x"}));
  const auto begin = Clock::now();
  server.reset();
  EXPECT_LT(seconds_since(begin), 1);
  EXPECT_THROW(store->check({"z"}), Error);
  EXPECT_LT(seconds_since(begin), 2);
}

TEST_P(Meeting, AClosedStoreEndsItsCalls) {
  // Somebody listens and never answers.
  const auto silent = wire::listen_at(layout(0, 2));
  const auto store = c10::make_intrusive<MeetingStore>(layout(1, 2), 60);
  const auto begin = Clock::now();
  std::thread closing([&] {
    std::this_thread::sleep_for(100ms);
    store->close();
  });
  EXPECT_THROW(store->check({"x"}), Error);
  closing.join();
  EXPECT_LT(seconds_since(begin), 2);
}

TEST_P(Meeting, ListensOnLoopbackOnly) {
  const MeetingServer server(layout(0, 2));
  const auto addresses = test::listening(::getpid());
  EXPECT_EQ(addresses.size(), GetParam() ? 0U : 1U);
  for (const auto& address : addresses) EXPECT_TRUE(test::is_loopback(address)) << address;
}

TEST_P(Meeting, AGroupOverItExchangesAndEndsAtOnce) {
  Clock::time_point end;
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      const auto group = Group::start(layout(rank, 2), torch::kCPU, 60);
      EXPECT_EQ(group->sum({1.5})[0], 3);
      const auto stray = wire::connect_to(layout(0, 2), 1000);
      ::send(stray.get(), "x", 1, MSG_NOSIGNAL);
      std::this_thread::sleep_for(400ms);  // a heartbeat or two
      EXPECT_EQ(group->gather(std::string(1, static_cast<char>('a' + rank))), (std::vector<std::string>{"a", "b"}));
      if (rank == 0) end = Clock::now();
    });
  }
  for (auto& rank : ranks) rank.join();
  EXPECT_LT(seconds_since(end), 2);
  EXPECT_FALSE(GetParam() && std::filesystem::exists(folder_ / "meeting"));
}

TEST_P(Meeting, WhoDoesNotComeIsNamed) {
  std::string message;
  try {
    Group::start(layout(0, 3), torch::kCPU, 0.3);
  } catch (const Error& error) {
    message = error.what();
  }
  EXPECT_NE(message.find("rank 0 of 3: ranks 1, 2 did not come to " + wire::place_name(layout(0, 3))),
            std::string::npos)
      << message;
  try {
    Group::start(layout(2, 3), torch::kCPU, 0.3);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("rank 2 of 3: rank 0 did not come"), std::string::npos) << error.what();
  }
}

// What a signal to one rank does while others are missing; with none missing nobody may leave.
TEST_P(Meeting, LeavingIsKnownToAllOrImpossible) {
  const MeetingServer server(layout(0, 3));
  const auto first = c10::make_intrusive<MeetingStore>(layout(0, 3), 5);
  std::thread waits([&] { EXPECT_THROW(first->meet(), MeetingStopped); });
  ASSERT_TRUE(test::within(5, [&] { return c10::make_intrusive<MeetingStore>(layout(1, 3), 5)->check({"here/0"}); }));
  auto raw = wire::connect_to(layout(1, 3), 1000);
  const auto words = wire::pack(wire::kHello) + wire::pack({"set", "here/1", ""}) +
                     wire::pack({"leave", "here/1", "here/0", "here/1", "here/2"});
  ASSERT_EQ(::send(raw.get(), words.data(), words.size(), MSG_NOSIGNAL), static_cast<ssize_t>(words.size()));
  waits.join();
  const auto last = c10::make_intrusive<MeetingStore>(layout(2, 3), 5);
  EXPECT_FALSE(last->check({"here/1"}));
  EXPECT_THROW(last->meet(), MeetingStopped);
}

TEST_P(Meeting, ASignalEndsAWaitUnlessAllHaveCome) {
  const MeetingServer server(layout(0, 2));
  const auto a = c10::make_intrusive<MeetingStore>(layout(0, 2), 5);
  const auto b = c10::make_intrusive<MeetingStore>(layout(1, 2), 5);
  struct sigaction before[3];
  const int signals[] = {SIGINT, SIGTERM, SIGUSR2};
  for (int i = 0; i < 3; ++i) ::sigaction(signals[i], nullptr, &before[i]);
  catch_stop_signals();
  ::raise(SIGTERM);
  EXPECT_THROW(a->meet(), MeetingStopped);
  a->deleteKey(wire::kLeft);
  a->set("here/0", {});
  b->meet();  // all are there: the signal is the run's affair
  clear_stop_signal();
  for (int i = 0; i < 3; ++i) ::sigaction(signals[i], &before[i], nullptr);
}

INSTANTIATE_TEST_SUITE_P(Places, Meeting, ::testing::Bool(),
                         [](const auto& place) { return place.param ? "UnixSocket" : "Loopback"; });

}  // namespace
}  // namespace lt2
