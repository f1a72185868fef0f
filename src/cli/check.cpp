// lt2 check PATH...: reference vectors through the real code.
#include "check/check.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/output.h"
#include "cli/command.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

std::string help() {
  return "usage: lt2 check PATH... [--strict] [--dtype fp32|bf16] [--device cpu|cuda]\n\n"
         "Runs every reference vector file (.safetensors, .json) found in the files and folders through the real code "
         "and\n"
         "prints the largest error per tensor beside its limit. Errors are relative to the tensor's largest magnitude "
         "unless marked abs.\n"
         "Exit status 1 if anything is out of tolerance; with --strict also if a file was skipped.\n\n"
         "example: lt2 check tests/data/vectors\n";
}

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
  LT2_CHECK(!arguments.words.empty(), "lt2 check: give vector files or folders, for example tests/data/vectors");
  CheckOptions options;
  if (!arguments.dtype.empty()) options.dtype = parse_dtype(arguments.dtype, "--dtype");
  if (!arguments.device.empty()) {
    LT2_CHECK(arguments.device == "cpu" || arguments.device == "cuda", "--device must be cpu or cuda; found \"{}\"",
              arguments.device);
    LT2_CHECK(arguments.device == "cpu" || torch::cuda::is_available(),
              "--device cuda: this build or machine has no CUDA device");
    options.device = torch::Device(arguments.device);
  }
  int64_t passed = 0, failed = 0, skipped = 0;
  for (const auto& path : vector_files({arguments.words.begin(), arguments.words.end()})) {
    const auto file = check_file(path, options);
    print(file);
    (file.status == CheckedFile::Status::kPassed   ? passed
     : file.status == CheckedFile::Status::kFailed ? failed
                                                   : skipped) += 1;
  }
  print_out("{} passed, {} failed, {} skipped\n", passed, failed, skipped);
  return failed > 0 || (arguments.strict && skipped > 0) ? 1 : 0;
}

}  // namespace

Command check_command() {
  return {"check", "run reference vectors through the real code", help, run, {"--strict", "--dtype", "--device"}};
}

}  // namespace lt2
