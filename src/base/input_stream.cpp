#include "base/input_stream.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/files.h"

namespace lt2 {

InputStream::InputStream(const std::string& path)
    : name_(path == "-" ? "standard input" : path), file_(open_stream(path == "-" ? "/dev/stdin" : path)) {}

bool InputStream::refill() {
  constexpr size_t kBlock = size_t{1} << 16;
  buffer_.erase(0, std::exchange(begin_, 0));
  const size_t before = buffer_.size();
  buffer_.resize(before + kBlock);
  for (;;) {
    const ssize_t got = ::read(file_, buffer_.data() + before, kBlock);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {  // opened as non-blocking by another process; this reader waits
      ready(-1);
      continue;
    }
    const int error = errno;
    buffer_.resize(before + static_cast<size_t>(got < 0 ? 0 : got));
    LT2_CHECK(got >= 0, "{}: cannot read: {}", name_, std::system_category().message(error));
    return got > 0;
  }
}

bool InputStream::line(std::string& line) {
  size_t looked = begin_;
  for (;;) {
    const size_t end = buffer_.find('\n', looked);
    if (end != std::string::npos) {
      line.assign(buffer_, begin_, end - begin_);
      begin_ = end + 1;
      return true;
    }
    looked = buffer_.size() - begin_;  // where it stands once what was taken is dropped
    if (refill()) continue;
    if (buffer_.empty()) return false;
    line = std::move(buffer_);
    buffer_.clear();
    return true;
  }
}

std::string InputStream::rest() {
  while (refill()) {
  }
  return std::exchange(buffer_, {});
}

bool InputStream::ready(int milliseconds) const {
  pollfd input{.fd = file_, .events = POLLIN, .revents = 0};
  return begin_ < buffer_.size() || ::poll(&input, 1, milliseconds) > 0;
}

}  // namespace lt2
