#pragma once
// Other programs, without a shell between.
#include <string>
#include <vector>

namespace lt2 {

/// Runs the program words[0], looked for in PATH, with the other words as its arguments just as they stand, and waits
/// for its end. Its exit status; 128 + the signal's number if one ended it; 127 if there is no such program.
int run_program(const std::vector<std::string>& words);

}  // namespace lt2
