#pragma once
// Numbers and texts as Python writes them.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lt2::jinja {

/// Of 0-9, a-z, A-Z; 99 for other characters.
int digit_value(char c);

/// Python's int(text, base), base 0 or 2 to 36; 0 takes the base from 0x, 0o or 0b. Nothing if it is no integer, or
/// none of 64 bits: `too_large` says which.
std::optional<int64_t> integer_of(std::string_view text, int base, bool* too_large = nullptr);

/// Python's float(text).
std::optional<double> real_of(std::string_view text);

/// What stands between the quotes of a text, with \n, \x41, \u00e9 and the like replaced. Sets `error` if one is
/// broken.
std::string unescaped(std::string_view text, std::string& error);

}  // namespace lt2::jinja
