#pragma once
// How many threads a user asks for.
#include <string>

namespace lt2 {

/// The number of threads that `text` asks for: a whole number of at least 1, or OpenMP's list of nested levels ("4,2"),
/// whose first number counts. More than allowed_cores() gives that many, after a warning with both numbers: threads
/// without a core of their own only wait for each other. Throws lt2::Error that begins with `name` for anything else.
int thread_count_from_text(const std::string& text, const std::string& name);

}  // namespace lt2
