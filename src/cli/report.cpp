// lt2 report DIR: one self-contained page from a run's files.
#include "report/report.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/command.h"

namespace lt2 {
namespace {

std::string help() {
  return "usage: lt2 report DIR [output=FILE]\n\n"
         "Writes DIR/report.html from the files of a dump directory: loss curve, samples, decode speed and state "
         "memory against context, machine,\n"
         "commands, configuration. The page needs no network.\n\n"
         "example: lt2 report runs/demo\n";
}

int run(const Arguments& arguments) {
  std::string dir, output;
  for (const auto& word : arguments.words) {
    if (word.rfind("output=", 0) == 0) {
      output = word.substr(7);
    } else {
      LT2_CHECK(dir.empty() && word.find('=') == std::string::npos,
                "lt2 report: unexpected argument {}; usage: lt2 report DIR [output=FILE]", word);
      dir = word;
    }
  }
  LT2_CHECK(!dir.empty(), "lt2 report: give a run's dump directory, for example runs/demo");
  if (output.empty()) output = dir + "/report.html";
  write_report(dir, output);
  fmt::print("{}\n", output);
  return 0;
}

}  // namespace

Command report_command() { return {"report", "make a page of figures from a run's files", help, run, {}}; }

}  // namespace lt2
