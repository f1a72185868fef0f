#include "distributed/local_launch.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kGrace = std::chrono::seconds(10);

std::atomic<int> forwarded{0};

// A port that nobody listens on now.
int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool bound = fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  LT2_CHECK(bound, "launch: no free port on 127.0.0.1: {}", std::strerror(error));
  return ntohs(address.sin_port);
}

// Rank `rank`'s share of the allowed cores; all of them if there are more ranks than cores.
cpu_set_t cores_of(int rank, int processes) {
  cpu_set_t all;
  CPU_ZERO(&all);
  if (::sched_getaffinity(0, sizeof(all), &all) != 0) return all;
  const int count = CPU_COUNT(&all);
  if (processes > count) return all;
  cpu_set_t own;
  CPU_ZERO(&own);
  int index = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    if (index * processes / count == rank) CPU_SET(cpu, &own);
    ++index;
  }
  return own;
}

struct Child {
  pid_t pid = -1;
  int output = -1;      // of ranks other than 0
  std::string pending;  // a line not yet ended
  int status = 0;
  bool running = false;
};

Child start(const LocalLaunch& launch, int rank, int port) {
  std::vector<std::string> environment;
  for (char** item = environ; *item != nullptr; ++item) {
    const std::string text = *item, name = text.substr(0, text.find('='));
    const bool ours = name == "RANK" || name == "LOCAL_RANK" || name == "WORLD_SIZE" || name == "LOCAL_WORLD_SIZE" ||
                      name == "MASTER_ADDR" || name == "MASTER_PORT";
    if (!ours) environment.push_back(text);
  }
  for (const auto& [name, value] : {std::pair{"RANK", rank},
                                    {"LOCAL_RANK", rank},
                                    {"WORLD_SIZE", launch.processes},
                                    {"LOCAL_WORLD_SIZE", launch.processes},
                                    {"MASTER_PORT", port}})
    environment.push_back(fmt::format("{}={}", name, value));
  environment.push_back("MASTER_ADDR=127.0.0.1");
  std::vector<char*> argv, envp;
  for (const auto& word : launch.command) argv.push_back(const_cast<char*>(word.c_str()));
  for (const auto& item : environment) envp.push_back(const_cast<char*>(item.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  int pipe[2] = {-1, -1};
  if (rank > 0) LT2_CHECK(::pipe2(pipe, O_CLOEXEC) == 0, "launch: cannot make a pipe: {}", std::strerror(errno));
  const cpu_set_t cores = cores_of(rank, launch.processes);
  const pid_t parent = ::getpid();
  Child child;
  child.pid = ::fork();
  LT2_CHECK(child.pid >= 0, "launch: cannot start rank {}: {}", rank, std::strerror(errno));
  if (child.pid == 0) {
    // A group of its own: Ctrl-C reaches it once, through the launcher.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    ::sched_setaffinity(0, sizeof(cores), &cores);
    if (rank > 0) {
      ::dup2(pipe[1], STDOUT_FILENO);
      ::dup2(pipe[1], STDERR_FILENO);
      const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      if (null >= 0) ::dup2(null, STDIN_FILENO);
    }
    ::execvpe(argv[0], argv.data(), envp.data());
    const char* reason = std::strerror(errno);
    ::dprintf(STDERR_FILENO, "error: cannot run %s: %s\n", argv[0], reason);
    ::_exit(127);
  }
  if (rank > 0) {
    ::close(pipe[1]);
    child.output = pipe[0];
  }
  child.running = true;
  return child;
}

void print_lines(Child& child, int rank, bool all) {
  for (size_t end; (end = child.pending.find('\n')) != std::string::npos; child.pending.erase(0, end + 1))
    print_above_progress_bar(fmt::format("rank {}: {}", rank, child.pending.substr(0, end)));
  if (all && !child.pending.empty()) {
    print_above_progress_bar(fmt::format("rank {}: {}", rank, child.pending));
    child.pending.clear();
  }
}

// Passes on what the ranks have written, waiting a little for more.
void pass_output(std::vector<Child>& children) {
  std::vector<pollfd> polled;
  std::vector<size_t> ranks;
  for (size_t r = 0; r < children.size(); ++r) {
    if (children[r].output < 0) continue;
    polled.push_back({.fd = children[r].output, .events = POLLIN, .revents = 0});
    ranks.push_back(r);
  }
  ::poll(polled.data(), polled.size(), 100);
  for (size_t i = 0; i < polled.size(); ++i) {
    if (polled[i].revents == 0) continue;
    Child& child = children[ranks[i]];
    char buffer[4096];
    const ssize_t count = ::read(child.output, buffer, sizeof(buffer));
    if (count > 0) child.pending.append(buffer, static_cast<size_t>(count));
    print_lines(child, static_cast<int>(ranks[i]), count <= 0);
    if (count <= 0) {
      ::close(child.output);
      child.output = -1;
    }
  }
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

// One life of the job. The first rank that failed, or -1.
int run_once(const LocalLaunch& launch, std::string& reason) {
  const int port = free_port();
  std::vector<Child> children;
  const auto signal_all = [&](int number) {
    for (const auto& child : children) {
      if (child.running) ::kill(child.pid, number);
    }
  };
  try {
    for (int r = 0; r < launch.processes; ++r) children.push_back(start(launch, r, port));
  } catch (...) {
    signal_all(SIGKILL);
    throw;
  }
  int failed = -1;
  Clock::time_point failure;
  bool killed = false;
  const auto any_running = [&] {
    for (const auto& child : children) {
      if (child.running || child.output >= 0) return true;
    }
    return false;
  };
  while (any_running()) {
    if (const int number = forwarded.exchange(0); number != 0) signal_all(number);
    pass_output(children);
    for (size_t r = 0; r < children.size(); ++r) {
      Child& child = children[r];
      if (!child.running || ::waitpid(child.pid, &child.status, WNOHANG) != child.pid) continue;
      child.running = false;
      if (child.status == 0 || failed >= 0) continue;
      failed = static_cast<int>(r);
      failure = Clock::now();
      reason = how_it_ended(child.status);
    }
    if (failed >= 0 && !killed && Clock::now() - failure > kGrace) {
      signal_all(SIGKILL);
      killed = true;
    }
  }
  return failed;
}

}  // namespace

int launch_local(const LocalLaunch& launch) {
  struct sigaction action {};
  action.sa_handler = [](int number) { forwarded = number == SIGINT ? SIGTERM : number; };
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGINT, SIGTERM, SIGUSR2}) ::sigaction(number, &action, nullptr);
  for (int restart = 0;; ++restart) {
    std::string reason;
    const int failed = run_once(launch, reason);
    if (failed < 0) return 0;
    const bool again = restart < launch.max_restarts;
    log_line(LogLevel::kError, fmt::format("rank {} {}; the others were stopped{}", failed, reason,
                                           again ? fmt::format(". Starting again from the last checkpoint ({} of {})",
                                                               restart + 1, launch.max_restarts)
                                                 : ""));
    if (!again) return 1;
  }
}

}  // namespace lt2
