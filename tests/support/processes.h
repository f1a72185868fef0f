#pragma once
// What /proc says of the program's processes, and a port for them.
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace lt2::test {

/// Whether `done` became true within `seconds`; looks every 5 ms.
inline bool within(double seconds, const std::function<bool()>& done) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!done()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// The exit status of a child that ends within `seconds`, 128 + the signal's number if one ended it; else nullopt, and
/// it is killed.
inline std::optional<int> exit_status(pid_t child, double seconds) {
  int status = 0;
  if (!within(seconds, [&] { return ::waitpid(child, &status, WNOHANG) == child; })) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return std::nullopt;
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// The children of a process that have the variable RANK with this value in their environment: rank `rank` of a launch.
inline pid_t rank_of(pid_t launcher, int rank) {
  const std::string wanted = "RANK=" + std::to_string(rank);
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream stat(entry.path() / "stat"), environment(entry.path() / "environ");
    std::string line, variable;
    std::getline(stat, line);
    const auto end = line.rfind(')');
    if (end == std::string::npos) continue;
    std::istringstream rest(line.substr(end + 1));
    char state = 0;
    pid_t parent = 0;
    rest >> state >> parent;
    if (parent != launcher) continue;
    while (std::getline(environment, variable, '\0')) {
      if (variable == wanted) return std::stoi(name);
    }
  }
  return -1;
}

/// Local addresses, as /proc/net/tcp and tcp6 write them ("0100007F:1F90"), at which a process listens.
inline std::vector<std::string> listening(pid_t process) {
  std::set<std::string> sockets;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/fd", error)) {
    const auto target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.starts_with("socket:[")) sockets.insert(target.substr(8, target.size() - 9));
  }
  std::vector<std::string> addresses;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);  // the heading
    while (std::getline(file, line)) {
      std::istringstream columns(line);
      std::vector<std::string> words;
      for (std::string word; columns >> word;) words.push_back(word);
      if (words.size() > 9 && words[3] == "0A" && sockets.contains(words[9])) addresses.push_back(words[1]);
    }
  }
  return addresses;
}

/// A port of loopback at which no process listens.
inline int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool found = ::bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(socket);
  if (!found) throw std::system_error(errno, std::generic_category(), "no free port");
  return ntohs(address.sin_port);
}

/// Whether such an address can be reached from this machine only.
inline bool is_loopback(const std::string& address) {
  const auto host = address.substr(0, address.find(':'));
  return (host.size() == 8 && host.ends_with("7F")) || host == "00000000000000000000000001000000" ||
         (host.starts_with("0000000000000000FFFF0000") && host.ends_with("7F"));
}

}  // namespace lt2::test
