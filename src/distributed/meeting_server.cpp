#include "distributed/meeting_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>

#include "base/error.h"
#include "base/signals.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;

// Connections that have not said hello: how long they may take, how many are allowed.
constexpr auto kToSayHello = std::chrono::seconds(10);
constexpr size_t kMostStrangers = 64;

struct Connection {
  wire::Socket socket;
  Clock::time_point since;
  bool greeted = false, open = true;
  std::string in, out;
};

class Table {
 public:
  std::vector<std::string> answer(const std::vector<std::string>& request) {
    LT2_CHECK(!request.empty(), "an empty request");
    const auto is = [&](const char* name, size_t fields) { return request[0] == name && request.size() == fields; };
    if (is("set", 3)) {
      values_[request[1]] = request[2];
      return {};
    }
    if (is("delete", 2)) return {values_.erase(request[1]) > 0 ? "1" : "0"};
    if (is("count", 1)) return {std::to_string(values_.size())};
    if (is("add", 3)) {
      auto& value = values_[request[1]];
      value = std::to_string(std::strtoll(value.c_str(), nullptr, 10) + std::strtoll(request[2].c_str(), nullptr, 10));
      return {value};
    }
    if (is("get", 2)) {
      const auto found = values_.find(request[1]);
      return found == values_.end() ? std::vector<std::string>{} : std::vector<std::string>{found->second};
    }
    if (request[0] == "missing") return missing({request.begin() + 1, request.end()});
    if (request[0] == "leave" && request.size() > 1) {
      // KEY of those that follow is taken back, unless all of them are there.
      auto others = missing({request.begin() + 2, request.end()});
      if (!others.empty()) {
        values_.erase(request[1]);
        values_[wire::kLeft] = "";
      }
      return others;
    }
    fail("an unknown request");
  }

 private:
  std::vector<std::string> missing(const std::vector<std::string>& keys) const {
    std::vector<std::string> out;
    for (const auto& key : keys) {
      if (!values_.contains(key)) out.push_back(key);
    }
    return out;
  }

  std::map<std::string, std::string> values_;
};

class Service {
 public:
  Service(int listening, int wake) : listening_(listening), wake_(wake) {}

  void run() {
    while (true) {
      std::vector<pollfd> polled{{.fd = wake_, .events = POLLIN, .revents = 0},
                                 {.fd = listening_, .events = POLLIN, .revents = 0}};
      for (const auto& connection : connections_) {
        const auto events = static_cast<short>(connection.out.empty() ? POLLIN : POLLIN | POLLOUT);
        polled.push_back({.fd = connection.socket.get(), .events = events, .revents = 0});
      }
      if (::poll(polled.data(), polled.size(), 1000) < 0) continue;  // a signal
      if (polled[0].revents != 0) return;
      size_t i = 2;
      for (auto& connection : connections_) {
        if (polled[i++].revents != 0) serve(connection);
      }
      if (polled[1].revents != 0) accept();
      drop();
    }
  }

 private:
  void accept() {
    // The oldest stranger gives way before descriptors run out.
    const auto stranger = [](const Connection& connection) { return !connection.greeted; };
    if (std::count_if(connections_.begin(), connections_.end(), stranger) >= static_cast<int64_t>(kMostStrangers))
      std::find_if(connections_.begin(), connections_.end(), stranger)->open = false;
    wire::Socket socket(::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) connections_.push_back({.socket = std::move(socket), .since = Clock::now(), .in = {}, .out = {}});
  }

  void serve(Connection& connection) {
    try {
      read(connection);
      const auto most = [&] { return connection.greeted ? wire::kLongest : wire::pack(wire::kHello).size(); };
      while (const auto frame = wire::take_frame(connection.in, most())) {
        if (connection.greeted) {
          connection.out += wire::pack(table_.answer(*frame));
        } else {
          LT2_CHECK(*frame == wire::kHello, "no hello");
          connection.greeted = true;
        }
      }
      write(connection);
    } catch (const Error&) {
      connection.open = false;  // not one of ours
    }
  }

  static void read(Connection& connection) {
    char buffer[65536];
    const ssize_t count = ::recv(connection.socket.get(), buffer, sizeof(buffer), 0);
    if (count > 0) connection.in.append(buffer, static_cast<size_t>(count));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) connection.open = false;
  }

  static void write(Connection& connection) {
    if (connection.out.empty()) return;
    const ssize_t count =
        ::send(connection.socket.get(), connection.out.data(), connection.out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) connection.out.erase(0, static_cast<size_t>(count));
    if (count < 0 && errno != EAGAIN && errno != EINTR) connection.open = false;
    if (connection.out.size() > wire::kLongest) connection.open = false;  // asks and does not listen
  }

  void drop() {
    const auto now = Clock::now();
    connections_.remove_if([&](const Connection& connection) {
      return !connection.open || (!connection.greeted && now - connection.since > kToSayHello);
    });
  }

  int listening_, wake_;
  Table table_;
  std::list<Connection> connections_;
};

}  // namespace

MeetingServer::MeetingServer(const ProcessLayout& layout)
    : path_(layout.master_addr.starts_with('/') ? layout.master_addr : ""),
      listening_(wire::listen_at(layout)),
      wake_(::eventfd(0, EFD_CLOEXEC)) {
  LT2_CHECK(wake_, "rank 0: cannot make an event: {}", std::strerror(errno));
  thread_ = std::thread([listening = listening_.get(), wake = wake_.get()] {
    leave_signals_to_others();
    Service(listening, wake).run();
  });
}

MeetingServer::~MeetingServer() {
  const uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof(one)) != sizeof(one)) std::abort();  // an eventfd takes it
  thread_.join();
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace lt2
