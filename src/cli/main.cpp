// lt2: one program, a subcommand per task. `lt2 COMMAND key=value ...`
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/output.h"
#include "base/signals.h"
#include "base/thread_count.h"
#include "base/torch.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/official.h"
#include "cli/options.h"
#include "config/fields.h"
#include "ops/runtime.h"

namespace lt2 {
namespace {

int help(const std::vector<std::string>& words) {
  if (words.empty()) return print_out("{}", overview(help_width())), 0;
  if (words[0] == "--markdown") return print_out("{}", configuration_page()), 0;
  const auto name = from_official(words)[0];
  for (const auto& command : commands()) {
    if (command.name == name) return print_out("{}", help_of(command, help_width())), 0;
  }
  fail("lt2 help: unknown command {}; `lt2 --help` lists them", words[0]);
}

int run(const std::vector<std::string>& typed) {
  if (typed.empty()) return print_out("{}", overview(help_width())), 1;
  if (typed[0] == "--version") return print_out("lt2 {}\n", LT2_VERSION), 0;
  if (typed[0] == "--help" || typed[0] == "-h" || typed[0] == "help") return help({typed.begin() + 1, typed.end()});
  const auto words = from_official(typed);
  for (const auto& command : commands()) {
    if (words[0] != command.name) continue;
    const std::vector<std::string> own(words.begin() + 1, words.end());
    if (asks_for_help(own, command)) return help({words[0]});
    const auto arguments = join_dashed(own, command);
    const char* threads = std::getenv("OMP_NUM_THREADS");
    const bool set = threads != nullptr && *threads != 0;
    init_runtime(set ? thread_count_from_text(threads, "environment: OMP_NUM_THREADS") : 0);
    return command.run(arguments);
  }
  std::vector<std::string> names;
  for (const auto& command : commands()) names.push_back(command.name);
  const auto near = nearest_key(words[0], names);
  fail("lt2: unknown command {}{}; `lt2 --help` lists them", words[0],
       near.empty() ? "" : fmt::format(", did you mean {}?", near));
}

// torch's own errors: the first line has the message; a backtrace of our code would not help a user.
std::string message_of(const c10::Error& error) {
  const std::string text = error.what_without_backtrace(), line = text.substr(0, text.find('\n'));
  const std::string advice = "; use a smaller batch, context or model";
  if (const auto at = line.find("tried to allocate "); at != std::string::npos) {
    const double bytes = std::strtod(line.c_str() + at + std::strlen("tried to allocate "), nullptr);
    return fmt::format("out of memory: {} asked for at once{}", human_bytes(bytes), advice);
  }
  if (line.find("size calculation overflow") != std::string::npos) return "out of memory" + advice;
  return "internal: " + line;
}

// The message of the error with which `act` failed; empty if it did not fail.
std::optional<std::string> failure_of(const std::function<void()>& act) {
  try {
    act();
    return std::nullopt;
  } catch (const OutputClosed&) {
    return "";
  } catch (const Error& error) {
    return error.what();
  } catch (const c10::Error& error) {
    return message_of(error);
  } catch (const std::filesystem::filesystem_error& error) {  // always about a path that was given
    return fmt::format("{}: {}", error.path1().string(), error.code().message());
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again) return std::string("internal: ") + error.what();
    return "the system gives no more threads (ulimit -u, or the limit of a container); use fewer (OMP_NUM_THREADS)";
  } catch (const std::bad_alloc&) {
    return "out of memory; use a smaller batch, context or model";
  } catch (const std::exception& error) {
    return std::string("internal: ") + error.what();
  }
}

}  // namespace
}  // namespace lt2

int main(int argc, char** argv) {
  lt2::prepare_standard_streams();
  lt2::ignore_size_limit_signal();
  int status = 1;
  auto failure = lt2::failure_of([&] { status = lt2::run({argv + std::min(argc, 1), argv + argc}); });
  // The output before a failure is shown, too.
  const auto lost = lt2::failure_of(lt2::flush_out);
  if (!failure) failure = lost;
  if (!failure) return status;
  if (failure->empty()) lt2::end_of_closed_pipe();
  // Into train.log too, if the command opened it.
  lt2::log_line(lt2::LogLevel::kError, *failure);
  return 1;
}
