#pragma once
// What main() needs to know of a subcommand. A command reads options and calls one room; nothing else happens here.
#include <string>
#include <vector>

namespace lt2 {

/// Arguments behind `lt2 COMMAND`, dashed switches taken out.
struct Arguments {
  std::vector<std::string> words;  // key=value, or paths where a command takes paths
  bool dry_run = false;            // --dry-run
  bool strict = false;             // --strict
  std::string dtype;               // --dtype VALUE
  std::string device;              // --device VALUE
  std::string memory;              // --memory VALUE
  std::string nproc;               // --nproc VALUE
  std::string max_restarts;        // --max-restarts VALUE
  bool slurm = false;              // --slurm
  bool live = false;               // --live
  std::vector<std::string> rest;   // what follows a bare --, as it stands
};

struct Command {
  const char* name;
  const char* summary;                     // one line for `lt2 --help`
  std::string (*help)();                   // `lt2 COMMAND --help`, with an example
  int (*run)(const Arguments& arguments);  // exit status; failures throw lt2::Error
  std::vector<std::string> switches;       // dashed switches it takes
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

}  // namespace lt2
