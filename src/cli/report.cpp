// lt2 report DIR: one self-contained page from a run's files.
#include "report/report.h"

#include <fmt/format.h>

#include <string>

#include "base/error.h"
#include "base/output.h"
#include "cli/command.h"
#include "cli/options.h"
#include "config/report_config.h"
#include "report/live.h"

namespace lt2 {
namespace {

int run(const Arguments& arguments) {
  ReportConfig config;
  const auto options = read_options(arguments.words, "report", Others::kPlainWords, config);
  LT2_CHECK(!options.plain.empty(), "lt2 report: give a run's dump directory, for example runs/demo");
  LT2_CHECK(options.plain.size() == 1, "lt2 report: unexpected argument {}; one run has one page", options.plain[1]);
  refuse_without_effect(options, "report",
                        config.live ? std::vector<std::string>{"output"} : std::vector<std::string>{"port"},
                        config.live ? "with live: no file is written" : "without live");
  const auto& dir = options.plain[0];
  if (config.live) {
    serve_live(dir, static_cast<int>(config.port));
    return 0;
  }
  const auto output = config.output.empty() ? dir + "/report.html" : config.output;
  write_report(dir, output);
  print_out("{}\n", output);
  return 0;
}

}  // namespace

Command report_command() {
  return {.name = "report",
          .summary = "make a page of figures from a run's files",
          .about =
              "Writes DIR/report.html from the files of a dump directory: loss curve, samples, decode speed and state "
              "memory against context, machine, commands, configuration. The page needs no network. --live serves "
              "the page of a running run to a browser on this machine, up to date until Ctrl-C.",
          .usage = {"report DIR [output=FILE]", "report DIR --live [port=8123]"},
          .examples = {"report runs/demo"},
          .keys = {keys_with<ReportConfig>("options")},
          .run = run};
}

}  // namespace lt2
