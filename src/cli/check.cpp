// lt2 check PATH...: reference vectors through the real code.
#include "check/check.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/output.h"
#include "cli/command.h"
#include "cli/options.h"
#include "config/check_config.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

void print(const CheckedFile& file) {
  using Status = CheckedFile::Status;
  const char* verdict = file.status == Status::kPassed   ? "passed"
                        : file.status == Status::kFailed ? "FAILED"
                                                         : "skipped";
  print_out("{} {}{}\n", verdict, file.path.string(), file.note.empty() ? "" : ": " + file.note);
  for (const auto& t : file.tensors) {
    print_out("    {:<52} {:>9.2e}  limit {:.0e}{}{}\n", t.name, t.error, t.limit, t.absolute ? " abs" : "",
              t.ok() ? "" : "  <-- out of tolerance");
  }
}

int run(const Arguments& arguments) {
  CheckConfig config;
  const auto paths = read_options(arguments.words, "check", Others::kPlainWords, config).plain;
  LT2_CHECK(!paths.empty(), "lt2 check: give vector files or folders, for example tests/data/vectors");
  LT2_CHECK(config.device == "cpu" || torch::cuda::is_available(),
            "lt2 check: device=cuda: this build or machine has no CUDA device");
  const CheckOptions options{.dtype = parse_dtype(config.dtype, "dtype"), .device = torch::Device(config.device)};
  int64_t passed = 0, failed = 0, skipped = 0;
  for (const auto& path : vector_files({paths.begin(), paths.end()})) {
    const auto file = check_file(path, options);
    print(file);
    (file.status == CheckedFile::Status::kPassed   ? passed
     : file.status == CheckedFile::Status::kFailed ? failed
                                                   : skipped) += 1;
  }
  print_out("{} passed, {} failed, {} skipped\n", passed, failed, skipped);
  return failed > 0 || (config.strict && skipped > 0) ? 1 : 0;
}

}  // namespace

Command check_command() {
  return {.name = "check",
          .summary = "run reference vectors through the real code",
          .about =
              "Runs every reference vector file (.safetensors, .json) found in the files and folders through the real "
              "code and prints the largest error of each tensor next to its limit. Errors are relative to the "
              "tensor's largest magnitude unless marked abs. The exit status is 1 if anything is out of tolerance.",
          .usage = {"check PATH... [--strict] [--dtype fp32|bf16] [--device cpu|cuda]"},
          .examples = {"check tests/data/vectors"},
          .keys = {keys_with<CheckConfig>("options")},
          .run = run};
}

}  // namespace lt2
