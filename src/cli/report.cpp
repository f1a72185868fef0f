// lt2 report DIR: one self-contained page from a run's files.
#include "report/report.h"

#include <fmt/format.h>

#include <charconv>
#include <string>

#include "base/error.h"
#include "base/output.h"
#include "cli/command.h"
#include "config/fields.h"
#include "report/live.h"

namespace lt2 {
namespace {

std::string help() {
  return "usage: lt2 report DIR [output=FILE]\n       lt2 report DIR --live [port=8123]\n\n"
         "Writes DIR/report.html from the files of a dump directory: loss curve, samples, decode speed and state "
         "memory against context, machine,\n"
         "commands, configuration. The page needs no network.\n\n"
         "--live serves the page of a run that goes on to a browser on this machine, at http://127.0.0.1:PORT/, and\n"
         "keeps it up to date until Ctrl-C; port=0 takes any free port.\n\n"
         "example: lt2 report runs/demo\n";
}

int parse_port(const std::string& text) {
  int port = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  LT2_CHECK(error == std::errc() && end == text.data() + text.size() && port >= 0 && port <= 65535,
            "lt2 report: port must be a number from 0 (any free one) to 65535, found {}", text);
  return port;
}

int run(const Arguments& arguments) {
  std::string dir, output, port;
  for (const auto& word : arguments.words) {
    if (word.rfind("output=", 0) == 0) {
      output = expand_home(word.substr(7), "output");
    } else if (word.rfind("port=", 0) == 0) {
      port = word.substr(5);
    } else {
      LT2_CHECK(dir.empty() && word.find('=') == std::string::npos,
                "lt2 report: unexpected argument {}; usage: lt2 report DIR [output=FILE], or DIR --live [port=N]",
                word);
      dir = word;
    }
  }
  LT2_CHECK(!dir.empty(), "lt2 report: give a run's dump directory, for example runs/demo");
  LT2_CHECK(!arguments.live || output.empty(), "lt2 report: --live writes no file; leave out output={}", output);
  LT2_CHECK(arguments.live || port.empty(), "lt2 report: port={} is for --live", port);
  if (arguments.live) {
    serve_live(dir, port.empty() ? 8123 : parse_port(port));
    return 0;
  }
  if (output.empty()) output = dir + "/report.html";
  write_report(dir, output);
  print_out("{}\n", output);
  return 0;
}

}  // namespace

Command report_command() { return {"report", "make a page of figures from a run's files", help, run, {"--live"}}; }

}  // namespace lt2
