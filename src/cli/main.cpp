// lt2: one program, a subcommand per task. `lt2 COMMAND key=value ...`
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "base/output.h"
#include "base/signals.h"
#include "base/thread_count.h"
#include "base/torch.h"
#include "base/units.h"
#include "cli/command.h"
#include "ops/runtime.h"

namespace lt2 {
namespace {

std::vector<Command> commands() {
  return {train_command(), generate_command(), inspect_command(), check_command(),    bench_command(), report_command(),
          data_command(),  tokenize_command(), convert_command(), quantize_command(), launch_command()};
}

std::string overview() {
  std::string text =
      "lt2: looped transformers with linear-time token mixers.\n\nusage: lt2 COMMAND [key=value ...]\n       lt2 "
      "COMMAND --help\n\n";
  for (const auto& command : commands()) text += fmt::format("  {:<10} {}\n", command.name, command.summary);
  text +=
      "\nexample: lt2 train config=configs/tiny/hybrid.yaml steps=100\n"
      "environment: LT2_ISA=avx2|scalar lowers the kernels' instruction set, OMP_NUM_THREADS the threads, up to the "
      "cores allowed\n";
  return text;
}

Arguments parse(const Command& command, int argc, char** argv) {
  Arguments out;
  for (int i = 2; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--") {
      out.rest.assign(argv + i + 1, argv + argc);
      break;
    }
    if (word.rfind("--", 0) != 0) {
      out.words.push_back(word);
      continue;
    }
    const auto equals = word.find('=');
    const auto name = word.substr(0, equals);
    const bool known = std::find(command.switches.begin(), command.switches.end(), name) != command.switches.end();
    LT2_CHECK(known, "lt2 {}: unknown switch {}; options are key=value{}", command.name, word,
              command.switches.empty() ? "" : fmt::format(", switches {}", fmt::join(command.switches, " ")));
    const auto value = [&]() -> std::string {
      if (equals != std::string::npos) return word.substr(equals + 1);
      LT2_CHECK(i + 1 < argc, "lt2 {}: {} needs a value", command.name, name);
      return argv[++i];
    };
    if (name == "--dry-run") out.dry_run = true;
    if (name == "--strict") out.strict = true;
    if (name == "--dtype") out.dtype = value();
    if (name == "--device") out.device = value();
    if (name == "--memory") out.memory = value();
    if (name == "--nproc") out.nproc = value();
    if (name == "--max-restarts") out.max_restarts = value();
    if (name == "--slurm") out.slurm = true;
    if (name == "--live") out.live = true;
  }
  return out;
}

int run(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "--help";
  if (first == "--version") return print_out("lt2 {}\n", LT2_VERSION), 0;
  if (first == "--help" || first == "-h" || first == "help") return print_out("{}", overview()), argc > 1 ? 0 : 1;
  // The official spellings.
  const std::string name = first == "benchmark_prefill" ? "bench" : first == "stool" ? "launch" : first;
  for (const auto& command : commands()) {
    if (name != command.name) continue;
    char** const end = std::find(argv + 2, argv + argc, std::string_view("--"));
    const bool help =
        std::any_of(argv + 2, end, [](const std::string_view word) { return word == "--help" || word == "-h"; });
    if (help) return print_out("{}", command.help()), 0;
    auto arguments = parse(command, argc, argv);
    if (first == "stool") arguments.slurm = true;
    const char* threads = std::getenv("OMP_NUM_THREADS");
    const bool set = threads != nullptr && *threads != 0;
    init_runtime(set ? thread_count_from_text(threads, "environment: OMP_NUM_THREADS") : 0);
    return command.run(arguments);
  }
  fail("lt2: unknown command {}; `lt2 --help` lists them", first);
}

// torch's own errors: the first line says it, a backtrace of ours would not help a user.
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

// What `act` failed with, for the user; nothing if it did not.
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
  auto failure = lt2::failure_of([&] { status = lt2::run(argc, argv); });
  // What was said before a failure is shown, too.
  const auto lost = lt2::failure_of(lt2::flush_out);
  if (!failure) failure = lost;
  if (!failure) return status;
  if (failure->empty()) lt2::end_of_closed_pipe();
  // Into train.log too, if the command opened it.
  lt2::log_line(lt2::LogLevel::kError, *failure);
  return 1;
}
