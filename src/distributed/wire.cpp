#include "distributed/wire.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace lt2::wire {
namespace {

constexpr size_t kLength = sizeof(uint32_t);

uint32_t length_at(const std::string& bytes, size_t at) {
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + at, kLength);
  return length;
}

void append_length(std::string& bytes, size_t length) {
  const auto number = static_cast<uint32_t>(length);
  bytes.append(reinterpret_cast<const char*>(&number), kLength);
}

bool is_path(const ProcessLayout& layout) { return layout.master_addr.starts_with('/'); }

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  LT2_CHECK(
      path.size() < sizeof(address.sun_path),
      "MASTER_ADDR: the path of a Unix socket is at most {} bytes long; found {} ({}). Set TMPDIR to a shorter one",
      sizeof(address.sun_path) - 1, path, path.size());
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

Socket stream_socket(int family) {
  Socket socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (socket && family != AF_UNIX) ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return socket;
}

// Whether the connection came about; waits for it at most `patience_ms`.
bool connected(const Socket& socket, const sockaddr* address, socklen_t size, int patience_ms) {
  if (!socket) return false;
  if (::connect(socket.get(), address, size) == 0) return true;
  if (errno != EINPROGRESS && errno != EINTR) return false;
  pollfd polled{.fd = socket.get(), .events = POLLOUT, .revents = 0};
  if (::poll(&polled, 1, patience_ms) != 1) return false;
  int error = 0;
  socklen_t length = sizeof(error);
  return ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}

bool listens(const Socket& socket, const sockaddr* address, socklen_t size) {
  const int on = 1, off = 0;
  if (!socket) return false;
  if (address->sa_family != AF_UNIX) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address->sa_family == AF_INET6) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  return ::bind(socket.get(), address, size) == 0 && ::listen(socket.get(), SOMAXCONN) == 0;
}

}  // namespace

std::string pack(const std::vector<std::string>& fields) {
  std::string body;
  for (const auto& field : fields) {
    append_length(body, field.size());
    body += field;
  }
  std::string frame;
  append_length(frame, body.size());
  return frame + body;
}

std::optional<std::vector<std::string>> take_frame(std::string& bytes, size_t most) {
  if (bytes.size() < kLength) return std::nullopt;
  const size_t end = kLength + length_at(bytes, 0);
  LT2_CHECK(end - kLength <= most, "a frame of {} bytes", end - kLength);
  if (bytes.size() < end) return std::nullopt;
  std::vector<std::string> fields;
  for (size_t at = kLength; at < end;) {
    LT2_CHECK(end - at >= kLength && end - at - kLength >= length_at(bytes, at), "a frame whose fields do not fill it");
    const size_t length = length_at(bytes, at);
    fields.push_back(bytes.substr(at + kLength, length));
    at += kLength + length;
  }
  bytes.erase(0, end);
  return fields;
}

Socket::~Socket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

std::string place_name(const ProcessLayout& layout) {
  return is_path(layout) ? layout.master_addr : fmt::format("{}:{}", layout.master_addr, layout.master_port);
}

Socket listen_at(const ProcessLayout& layout) {
  Socket socket;
  bool done = false;
  if (is_path(layout)) {
    const auto address = unix_address(layout.master_addr);
    socket = stream_socket(AF_UNIX);
    done = listens(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  } else {
    const auto port = htons(static_cast<uint16_t>(layout.master_port));
    if (!layout.one_machine) {
      sockaddr_in6 any{};  // IPv4, too
      any.sin6_family = AF_INET6;
      any.sin6_port = port;
      socket = stream_socket(AF_INET6);
      done = listens(socket, reinterpret_cast<const sockaddr*>(&any), sizeof(any));
    }
    if (!done) {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = port;
      address.sin_addr.s_addr = htonl(layout.one_machine ? INADDR_LOOPBACK : INADDR_ANY);
      socket = stream_socket(AF_INET);
      done = listens(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    }
  }
  LT2_CHECK(done, "rank 0: cannot listen at {}: {}", place_name(layout), std::strerror(errno));
  return socket;
}

Socket connect_to(const ProcessLayout& layout, int patience_ms) {
  if (is_path(layout)) {
    const auto address = unix_address(layout.master_addr);
    auto socket = stream_socket(AF_UNIX);
    if (connected(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address), patience_ms)) return socket;
    return Socket();
  }
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const int error =
      ::getaddrinfo(layout.master_addr.c_str(), std::to_string(layout.master_port).c_str(), &hints, &found);
  if (error == EAI_AGAIN) return Socket();
  LT2_CHECK(error == 0, "MASTER_ADDR: {}: {}", layout.master_addr, ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    auto socket = stream_socket(each->ai_family);
    if (connected(socket, each->ai_addr, each->ai_addrlen, patience_ms)) return socket;
  }
  return Socket();
}

}  // namespace lt2::wire
