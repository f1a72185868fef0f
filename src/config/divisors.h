#pragma once
// The divisors of a number, for "use one of 1, 2, 4".
#include <cstdint>
#include <string>

namespace lt2 {

/// Ascending, separated by commas.
std::string divisors(int64_t n);

}  // namespace lt2
