#include "base/output.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

namespace lt2 {
namespace {

constexpr size_t kBlock = size_t{1} << 16;

struct Output {
  std::string waiting;
  int failure = 0;  // errno of the first write that failed
  bool terminal = ::isatty(STDOUT_FILENO) != 0;
};

// Never destroyed: what main did not flush is not written.
Output& output() {
  static auto* output = new Output;
  return *output;
}

void check(const Output& out) {
  if (out.failure == EPIPE) throw OutputClosed();
  LT2_CHECK(out.failure == 0, "standard output: cannot write: {}", std::system_category().message(out.failure));
}

}  // namespace

void prepare_standard_streams() {
  for (const int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(number, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number is this one: those below are open by now.
    if (::open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY) != number) ::_exit(1);
  }
  // Not SIG_IGN, which programs started from here would inherit.
  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGPIPE, &action, nullptr);
}

void write_out(std::string_view text) {
  Output& out = output();
  check(out);
  out.waiting += text;
  if (out.waiting.size() >= kBlock || (out.terminal && text.find('\n') != std::string_view::npos)) flush_out();
}

void flush_out() {
  Output& out = output();
  check(out);
  std::string_view left = out.waiting;
  while (!left.empty() && out.failure == 0) {
    const ssize_t written = ::write(STDOUT_FILENO, left.data(), left.size());
    if (written >= 0) {
      left.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {  // another process made it non-blocking; this writer waits
      pollfd ready{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      out.failure = errno;
    }
  }
  out.waiting.clear();
  check(out);
}

void end_of_closed_pipe() {
  ::signal(SIGPIPE, SIG_DFL);
  ::raise(SIGPIPE);
  ::_exit(128 + SIGPIPE);  // where the signal is blocked
}

}  // namespace lt2
