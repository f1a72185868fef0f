#pragma once
// What main() needs to know about a subcommand. A command reads options and calls one room; nothing else happens here.
#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"

namespace lt2 {

/// The command line after `lt2 COMMAND`.
struct Arguments {
  std::vector<std::string> words;  // paths and other plain words, key=value, --key=value
  std::vector<std::string> rest;   // the line of another command that this one runs, unchanged
};

/// The keys of one struct, which hold its defaults.
struct Keys {
  std::string title;  // for readers: "keys", "keys of inspect machine"
  std::vector<Field> fields;
};

/// The keys of the structs, one after the other.
template <class... Structs>
Keys keys_with(std::string title) {
  Keys keys{std::move(title), {}};
  const auto add = [&](std::vector<Field> more) { keys.fields.insert(keys.fields.end(), more.begin(), more.end()); };
  (add(default_fields<Structs>()), ...);
  return keys;
}

struct Command {
  std::string name, summary;          // one line for `lt2 --help`
  std::string about;                  // two or three sentences for `lt2 COMMAND --help`
  std::vector<std::string> usage;     // without "lt2"
  std::vector<std::string> examples;  // without "lt2"
  std::vector<Keys> keys;
  int (*run)(const Arguments& arguments);  // exit status; failures throw lt2::Error
  // Also takes keys of a training configuration, as changes to the file that config= names.
  bool takes_training_keys = false;
  // A bare -- or the first plain word begins another command's line: Arguments::rest. Other commands take no --.
  bool runs_a_command = false;
};

Command train_command();
Command generate_command();
Command inspect_command();
Command check_command();
Command bench_command();
Command report_command();
Command data_command();
Command tokenize_command();
Command convert_command();
Command quantize_command();
Command launch_command();

/// All commands, in the order of the helps.
std::vector<Command> commands();

}  // namespace lt2
