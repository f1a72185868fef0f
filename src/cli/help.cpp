#include "cli/help.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "config/help.h"

namespace lt2 {
namespace {

constexpr size_t kNarrowest = 40;

/// "usage: lt2 FIRST\n       lt2 SECOND\n", long lines continue under their options.
std::string lines_of(const std::string& title, const std::vector<std::string>& lines, size_t width) {
  std::string out;
  for (const auto& line : lines) {
    out += out.empty() ? title : std::string(title.size(), ' ');
    out += wrapped("lt2 " + line, width, title.size() + 8, title.size()) + "\n";
  }
  return out;
}

}  // namespace

size_t help_width() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return std::max<size_t>(size.ws_col, kNarrowest);
  const char* columns = std::getenv("COLUMNS");
  const long number = columns ? std::strtol(columns, nullptr, 10) : 0;
  return number > 0 ? std::max(static_cast<size_t>(number), kNarrowest) : 100;
}

std::string overview(size_t width) {
  std::string text = "lt2: looped transformers with linear-time token mixers.\n\n" +
                     lines_of("usage: ", {"COMMAND [key=value ...]", "help COMMAND", "help --markdown"}, width) + "\n";
  for (const auto& command : commands())
    text += fmt::format("  {:<10} {}\n", command.name, wrapped(command.summary, width, 13, 13));
  text += "\n" + lines_of("example: ", {"train config=configs/tiny/hybrid.yaml steps=100"}, width) + "\n" +
          wrapped(
              "Every key=value may be written --key value, with - for _. help --markdown prints the keys of all "
              "commands as one page (docs/configuration.md).",
              width) +
          "\n\n" +
          wrapped(
              "Environment: LT2_ISA=avx2|scalar lowers the kernels' instruction set, OMP_NUM_THREADS the threads, "
              "up to the cores allowed.",
              width) +
          "\n";
  return text;
}

std::string help_of(const Command& command, size_t width) {
  std::string text =
      fmt::format("lt2 {}: {}\n\n", command.name, wrapped(command.summary, width, 2, command.name.size() + 6));
  text += wrapped(command.about, width) + "\n\n";
  text += lines_of("usage: ", command.usage, width) + "\n";
  text += lines_of("example: ", command.examples, width);
  for (const auto& keys : command.keys)
    text += fmt::format("\n{} (key=default):\n\n", keys.title) + field_list(keys.fields, width);
  return text;
}

std::string configuration_page() {
  std::string page =
      "# Configuration\n\n"
      "Every key of every command, and of the YAML file that `train` reads. `lt2 help --markdown` writes this page "
      "from "
      "the declarations in `src/config`; a test compares the two. After a change: `lt2 help --markdown "
      ">docs/configuration.md`.\n\n"
      "On a command line a key is written `key=value`, nested `group.key=value`, or `--key value`. Types: *amount* is "
      "a "
      "whole number that may have a unit (`1k`, `24G`: powers of 1024; `500MB`, `5GB`: powers of 1000), *amounts* and "
      "*words* are one or more with commas between. *official* keys are those of the official code, *ours* are "
      "additional; a command without that column has only keys of its own.\n";
  for (const auto& command : commands()) {
    page += fmt::format("\n## lt2 {}\n\n{}\n", command.name, command.about);
    for (const auto& keys : command.keys) {
      if (command.keys.size() > 1) page += fmt::format("\n### {}\n", keys.title);
      page += field_tables(keys.fields, command.keys.size() > 1 ? 4 : 3);
    }
  }
  return page;
}

}  // namespace lt2
