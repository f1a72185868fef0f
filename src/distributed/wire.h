#pragma once
// What travels between a rank and the meeting point: frames of byte strings over a stream socket.
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "distributed/layout.h"

namespace lt2::wire {

/// A frame: its length, then each field's length and bytes. Lengths are 4 bytes in the machine's order.
std::string pack(const std::vector<std::string>& fields);
/// Takes the first frame off the front of `bytes`; nullopt while it is not whole. Throws lt2::Error if it is longer
/// than `most` bytes or its fields do not fill it: the sender is no rank of ours.
std::optional<std::vector<std::string>> take_frame(std::string& bytes, size_t most);

constexpr size_t kLongest = 1 << 20;  // of a frame
/// The first frame of a rank. What begins otherwise is hung up on.
inline const std::vector<std::string> kHello = {"hello", "lt2 meeting 1"};
/// The key that a rank leaves when it goes before all have come.
constexpr const char* kLeft = "left";

/// An open socket.
class Socket {
 public:
  explicit Socket(int descriptor = -1) : descriptor_(descriptor) {}
  ~Socket();
  Socket(Socket&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  Socket& operator=(Socket&& other) noexcept;
  int get() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

/// "/tmp/x/meeting" or "host:29500".
std::string place_name(const ProcessLayout& layout);

/// Listens at the layout's place: a Unix socket; loopback only if all ranks are on one machine; else all addresses.
/// Throws lt2::Error.
Socket listen_at(const ProcessLayout& layout);
/// A connection to it, or an empty socket if no server answers there within `patience_ms`. Throws lt2::Error if the
/// host's name is unknown.
Socket connect_to(const ProcessLayout& layout, int patience_ms);

}  // namespace lt2::wire
