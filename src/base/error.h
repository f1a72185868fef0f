#pragma once
// The one error type of the project, and the check that throws it.
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace lt2 {

/// What a user can get wrong: one line that says what, where, expected, found and what to do. The program prints
/// `what()` and exits with status 1; our own bugs use assert instead.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lt2

/// Throws lt2::Error with the formatted message unless `condition` holds.
#define LT2_CHECK(condition, ...)               \
  do {                                          \
    if (!(condition)) ::lt2::fail(__VA_ARGS__); \
  } while (false)
