#include "base/log.h"

#include <fmt/chrono.h>

#include <chrono>
#include <mutex>
#include <optional>

#include "base/append_file.h"
#include "base/error.h"
#include "base/progress.h"

namespace lt2 {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

const steady_clock::time_point kProgramStart = steady_clock::now();

struct LogFile {
  std::mutex mutex;
  std::optional<AppendFile> file;
  int rank = 0;
};

// Never destroyed: other threads may log while the program ends.
LogFile& log_file() {
  static auto* file = new LogFile;
  return *file;
}

const char* level_name(LogLevel level) {
  return level == LogLevel::kInfo ? "INFO" : level == LogLevel::kWarning ? "WARNING" : "ERROR";
}

std::string stamped(int rank, LogLevel level, const std::string& message) {
  const auto now = system_clock::now();
  const auto microseconds =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
  const auto elapsed = std::chrono::duration_cast<std::chrono::seconds>(steady_clock::now() - kProgramStart).count();
  return fmt::format("{}: {:<7} {:%y-%m-%d %H:%M:%S}.{:06} - {}:{:02}:{:02} - {}\n", rank, level_name(level),
                     fmt::localtime(system_clock::to_time_t(now)), microseconds, elapsed / 3600, elapsed / 60 % 60,
                     elapsed % 60, message);
}

// Messages quote what stands in files and on the command line: it must not forge lines, or speak to the terminal.
std::string one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= ' ' && byte != 0x7f) {
      line += c;
    } else {
      line += c == '\n' ? "\\n" : c == '\t' ? "\\t" : fmt::format("\\x{:02x}", byte);
    }
  }
  return line;
}

}  // namespace

void log_line(LogLevel level, const std::string& said) {
  const std::string message = one_line(said);
  const char* prefix = level == LogLevel::kInfo ? "" : level == LogLevel::kWarning ? "warning: " : "error: ";
  LogFile& log = log_file();
  const std::lock_guard lock(log.mutex);
  if (log.rank == 0 || level != LogLevel::kInfo) print_above_progress_bar(prefix + message);
  if (!log.file) return;
  try {
    log.file->append(stamped(log.rank, level, message));
  } catch (const Error& error) {
    // A full disk must not end a run for its log; say so once.
    log.file.reset();
    print_above_progress_bar(fmt::format("warning: cannot write the log file any more: {}", error.what()));
  }
}

void set_log_file(const std::string& path) {
  LogFile& log = log_file();
  const std::lock_guard lock(log.mutex);
  log.file.reset();
  if (path.empty()) return;
  log.file.emplace(path);
}

void set_log_rank(int rank) {
  LogFile& log = log_file();
  const std::lock_guard lock(log.mutex);
  log.rank = rank;
}

}  // namespace lt2
