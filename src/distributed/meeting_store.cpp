#include "distributed/meeting_store.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "base/signals.h"
#include "distributed/waiting.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;

// The server only answers; a process that does not answer for so long hangs.
constexpr auto kToAnswer = std::chrono::seconds(10), kToAnswerAfterSignal = std::chrono::seconds(2);
constexpr int kToConnectMs = 1000, kToNoticeMs = 100;

}  // namespace

MeetingStore::MeetingStore(const ProcessLayout& layout, double timeout_s)
    : Store(std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1000))), layout_(layout) {
  Waiting waiting(layout_, timeout_s, /*all_are_there=*/false);
  while (!(socket_ = wire::connect_to(layout_, kToConnectMs))) waiting.for_more_of("rank 0");
  LT2_CHECK(send_all(wire::pack(wire::kHello), Clock::now() + kToAnswer), "rank {}: {} hung up", layout_.rank,
            wire::place_name(layout_));
}

void MeetingStore::meet() {
  const auto key = [](int rank) { return fmt::format("here/{}", rank); };
  std::vector<std::string> all;
  for (int rank = 0; rank < layout_.world; ++rank) all.push_back(key(rank));
  const auto ask = [&](std::vector<std::string> question) {
    question.insert(question.end(), all.begin(), all.end());
    return request(question);
  };
  set(key(layout_.rank), {});
  Waiting waiting(layout_, static_cast<double>(timeout_.count()) / 1000, /*all_are_there=*/false);
  for (auto missing = ask({"missing"}); !missing.empty(); missing = ask({"missing"})) {
    std::vector<std::string> ranks;
    for (const auto& each : missing) ranks.push_back(each.substr(each.find('/') + 1));
    const auto whom = fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
    if (check({wire::kLeft})) waiting.stopped("a signal to another rank", whom);
    try {
      waiting.for_more_of(whom);
    } catch (const MeetingStopped&) {
      // The last rank may have come meanwhile: then none may leave.
      if (!ask({"leave", key(layout_.rank)}).empty()) throw;
    }
  }
  met_ = true;
}

void MeetingStore::close() {
  closed_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);
}

void MeetingStore::set(const std::string& key, const std::vector<uint8_t>& value) {
  request({"set", key, std::string(value.begin(), value.end())});
}

std::vector<uint8_t> MeetingStore::get(const std::string& key) {
  wait({key});
  const auto values = request({"get", key});
  LT2_CHECK(values.size() == 1, "rank {}: {} is gone from {}", layout_.rank, key, wire::place_name(layout_));
  return {values[0].begin(), values[0].end()};
}

int64_t MeetingStore::add(const std::string& key, int64_t value) {
  return std::strtoll(request({"add", key, std::to_string(value)}).at(0).c_str(), nullptr, 10);
}

bool MeetingStore::deleteKey(const std::string& key) { return request({"delete", key}).at(0) == "1"; }

bool MeetingStore::check(const std::vector<std::string>& keys) {
  std::vector<std::string> ask{"missing"};
  ask.insert(ask.end(), keys.begin(), keys.end());
  return request(ask).empty();
}

int64_t MeetingStore::getNumKeys() { return std::strtoll(request({"count"}).at(0).c_str(), nullptr, 10); }

void MeetingStore::wait(const std::vector<std::string>& keys) { wait(keys, timeout_); }

void MeetingStore::wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) {
  Waiting waiting(layout_, static_cast<double>(timeout.count()) / 1000, /*all_are_there=*/true);
  while (!check(keys)) waiting.for_more_of("the addresses of the other ranks");
}

std::vector<std::string> MeetingStore::request(const std::vector<std::string>& fields) {
  const std::lock_guard lock(mutex_);
  const auto until = Clock::now() + kToAnswer;
  if (!closed_ && send_all(wire::pack(fields), until)) {
    while (true) {
      if (auto answer = wire::take_frame(in_, wire::kLongest)) return *answer;
      char buffer[65536];
      if (!ready(POLLIN, until)) break;
      const ssize_t count = ::recv(socket_.get(), buffer, sizeof(buffer), 0);
      if (count > 0) in_.append(buffer, static_cast<size_t>(count));
      if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) break;
    }
  }
  // What comes later would answer another question.
  close();
  if (signalled()) Waiting(layout_, 0, /*all_are_there=*/false).stopped("a signal", "an answer of rank 0");
  fail("rank {}: the meeting point {} does not answer; rank 0, which keeps it, ended or hangs", layout_.rank,
       wire::place_name(layout_));
}

bool MeetingStore::signalled() const { return !met_ && stop_signal() != 0; }

bool MeetingStore::send_all(const std::string& bytes, Clock::time_point until) {
  for (size_t at = 0; at < bytes.size();) {
    if (!ready(POLLOUT, until)) return false;
    const ssize_t count = ::send(socket_.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (count > 0) at += static_cast<size_t>(count);
    if (count < 0 && errno != EAGAIN && errno != EINTR) return false;
  }
  return true;
}

bool MeetingStore::ready(short events, Clock::time_point until) {
  while (Clock::now() < (signalled() ? until - kToAnswer + kToAnswerAfterSignal : until)) {
    pollfd polled{.fd = socket_.get(), .events = events, .revents = 0};
    if (::poll(&polled, 1, kToNoticeMs) == 1) return true;
  }
  return false;
}

}  // namespace lt2
