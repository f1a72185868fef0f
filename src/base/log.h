#pragma once
// Messages go to standard error, and to train.log when a run has one. Results go to standard output.
#include <fmt/format.h>

#include <string>

namespace lt2 {

enum class LogLevel { kInfo, kWarning, kError };

/// Prints one line to stderr ("warning: ..." for warnings) without breaking a progress bar, and appends it with a time
/// stamp to the log file when one is set. Thread-safe.
void log_line(LogLevel level, const std::string& message);
/// Also append every message to `path` (created if missing). Empty: stop. Throws lt2::Error if it cannot be opened.
/// A line there: "0: INFO    26-11-21 10:00:00.123456 - 0:00:12 - message": rank, level, local time, time since start.
void set_log_file(const std::string& path);
/// The process's number in a distributed run, for the log file. Starts at 0; others show warnings and errors only.
void set_log_rank(int rank);

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lt2
