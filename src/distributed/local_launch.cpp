#include "distributed/local_launch.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/progress.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
constexpr auto kGrace = std::chrono::seconds(10);

// Signals that the launcher got. A stop is final: nothing is started after it.
std::atomic<int> first_signal{0}, to_pass_on{0};
std::atomic<bool> interrupted{false}, impatient{false};
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR2, SIGHUP};

void handle(int number) {
  int none = 0;
  first_signal.compare_exchange_strong(none, number);
  if (number == SIGINT && interrupted.exchange(true)) impatient = true;
  to_pass_on = number == SIGUSR2 ? SIGUSR2 : SIGTERM;
}

// Holds the signals back while a child is made: it must not take one for the launcher, and none may be lost before the
// launcher knows of the child.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t held;
    sigemptyset(&held);
    for (const int number : kSignals) sigaddset(&held, number);
    ::sigprocmask(SIG_BLOCK, &held, &before_);
  }
  ~SignalsHeld() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;
  // In the child: as if no handler had ever been set.
  void let_go() const {
    for (const int number : kSignals) {
      if (::signal(number, SIG_DFL) == SIG_IGN) ::signal(number, SIG_IGN);  // nohup holds for the ranks, too
    }
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t before_;
};

std::string meeting_in(const Aside& folder) { return (folder.path() / "meeting").string(); }

// A folder that only this user can enter, for the socket at which the ranks meet: under TMPDIR, or under /tmp where
// that cannot hold one. Gone with the launch; what a killed one left goes now.
std::unique_ptr<Aside> private_folder() {
  constexpr size_t kLongest = sizeof(sockaddr_un::sun_path) - 1;
  std::string reasons;
  std::error_code none;
  for (const auto& parent : {fs::absolute(fs::temp_directory_path(none), none), fs::path("/tmp")}) {
    if (parent.empty()) continue;
    try {
      auto folder = std::make_unique<Aside>(parent / "lt2-launch", Aside::Kind::kFolder);
      fs::permissions(folder->path(), fs::perms::owner_all);
      if (meeting_in(*folder).size() <= kLongest) return folder;
      reasons += fmt::format("; {}: too long a path for a socket", parent.string());
    } catch (const Error& error) {
      reasons += fmt::format("; {}", error.what());
    }
  }
  fail("launch: the ranks have no folder to meet in (TMPDIR){}", reasons);
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

Child start(const LocalLaunch& launch, int rank, const std::string& meeting) {
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
                                    {"LOCAL_WORLD_SIZE", launch.processes}})
    environment.push_back(fmt::format("{}={}", name, value));
  environment.push_back("MASTER_ADDR=" + meeting);
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
  const SignalsHeld held;
  child.pid = ::fork();
  LT2_CHECK(child.pid >= 0, "launch: cannot start rank {}: {}", rank, std::strerror(errno));
  if (child.pid == 0) {
    // Its own process group: Ctrl-C reaches it once, through the launcher.
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
    held.let_go();
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
    if (count < 0 && errno == EINTR) continue;
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

struct Outcome {
  int failed = -1;         // the first rank that failed
  std::string reason;      // how it ended
  bool cut_short = false;  // by a signal, before a rank could answer it
};

// One life of the job.
Outcome run_once(const LocalLaunch& launch) {
  Outcome out;
  const auto folder = private_folder();
  std::vector<Child> children;
  const auto signal_all = [&](int number) {
    for (const auto& child : children) {
      if (child.running) ::kill(child.pid, number);
    }
  };
  try {
    for (int r = 0; r < launch.processes && first_signal == 0; ++r)
      children.push_back(start(launch, r, meeting_in(*folder)));
  } catch (...) {
    signal_all(SIGKILL);
    throw;
  }
  out.cut_short = children.size() < static_cast<size_t>(launch.processes);
  Clock::time_point failure;
  const auto any_running = [&] {
    return std::any_of(children.begin(), children.end(),
                       [](const Child& child) { return child.running || child.output >= 0; });
  };
  while (any_running()) {
    if (const int number = to_pass_on.exchange(0); number != 0) signal_all(number);
    if (impatient) signal_all(SIGKILL);
    pass_output(children);
    for (size_t r = 0; r < children.size(); ++r) {
      Child& child = children[r];
      if (!child.running || ::waitpid(child.pid, &child.status, WNOHANG) != child.pid) continue;
      child.running = false;
      if (child.status == 0) continue;
      const int signal = WIFSIGNALED(child.status) ? WTERMSIG(child.status) : 0;
      if (first_signal != 0 && (signal == SIGTERM || signal == SIGUSR2 || (impatient && signal == SIGKILL))) {
        out.cut_short = true;
        log_info("rank {} {}, as asked", r, how_it_ended(child.status));
        continue;
      }
      if (out.failed >= 0) continue;
      out.failed = static_cast<int>(r);
      out.reason = how_it_ended(child.status);
      failure = Clock::now();
      signal_all(SIGTERM);  // a rank that still waits for the others need not wait for the end of its patience
    }
    if (out.failed >= 0 && Clock::now() - failure > kGrace) signal_all(SIGKILL);
  }
  return out;
}

}  // namespace

int launch_local(const LocalLaunch& launch) {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int number : kSignals) {
    struct sigaction before {};
    ::sigaction(number, nullptr, &before);
    if (number != SIGHUP || before.sa_handler != SIG_IGN) ::sigaction(number, &action, nullptr);  // nohup
  }
  for (int restart = 0;; ++restart) {
    const auto outcome = run_once(launch);
    const int stop = first_signal;
    if (outcome.failed < 0) return outcome.cut_short ? 128 + stop : 0;
    const bool again = restart < launch.max_restarts && stop == 0;
    std::string next;
    if (again)
      next = fmt::format(". Starting again from the last checkpoint ({} of {})", restart + 1, launch.max_restarts);
    if (stop != 0) next = fmt::format(". Not started again after signal {} ({})", stop, ::strsignal(stop));
    log_line(LogLevel::kError,
             fmt::format("rank {} {}; the others were stopped{}", outcome.failed, outcome.reason, next));
    if (!again) return 1;
  }
}

}  // namespace lt2
