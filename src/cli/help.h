#pragma once
// The descriptions of commands: `lt2 --help`, `lt2 COMMAND --help`, docs/configuration.md.
#include <cstddef>
#include <string>
#include <vector>

#include "cli/command.h"

namespace lt2 {

/// Columns of the terminal on standard output, else the environment's COLUMNS, else 100.
size_t help_width();

/// All commands, one line each.
std::string overview(size_t width);

/// The description of a command, its usage, examples and keys.
std::string help_of(const Command& command, size_t width);

/// The page docs/configuration.md: the keys of every command.
std::string configuration_page();

}  // namespace lt2
