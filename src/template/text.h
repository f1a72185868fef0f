#pragma once
// Python's methods of texts, on UTF-8 with the meaning of code points.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "template/value.h"

namespace lt2::jinja {

/// str.isspace() of one character: what strip() and split() take for a space.
bool is_space(uint32_t code);

/// The byte at which the character with this index starts, 0 <= index <= length.
size_t byte_of(const Text& text, int64_t index);
/// Characters start, start + step, ... `count` of them, all inside the text.
std::string slice_of(const Text& text, int64_t start, int64_t step, int64_t count);
std::vector<std::string> characters_of(std::string_view text);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
/// Lower, and what looks different but is compared as equal alike: ss for a sharp s.
std::string casefold(std::string_view text);
std::string swapcase(std::string_view text);
/// The first character as in a title, the others lower.
std::string capitalize(std::string_view text);
/// str.title(): every run of letters is a word.
std::string title(std::string_view text);

enum class Side { kLeft, kRight, kBoth };
/// Without the characters of `chars` at its ends, or without spaces there.
std::string_view strip(std::string_view text, Side side, const std::optional<std::string>& chars = {});

/// str.split() and rsplit(): at runs of spaces without a separator. most < 0: as often as there is one.
std::vector<std::string> split(std::string_view text, const std::optional<std::string>& separator, int64_t most,
                               bool from_right);
std::vector<std::string> splitlines(std::string_view text, bool keep_ends);
/// Where `what` begins at or after `from`, or npos. In linear time, whatever the two look like.
size_t find_text(std::string_view text, std::string_view what, size_t from = 0);
/// Where `what` begins last.
size_t rfind_text(std::string_view text, std::string_view what);
std::string replace(std::string_view text, std::string_view old, std::string_view with, int64_t most, size_t limit);

/// The tests of str that look at every character: isalpha, isdigit, isupper ... Returns false for an unknown name.
bool character_test(const std::string& name, std::string_view text, bool& holds);

/// Python's repr(): in quotes, with escapes for what does not print.
std::string repr_of(std::string_view text);
/// Shortest digits that mean the same double, as Python writes it: 1.0, 1e+16, inf.
std::string repr_of(double value);

/// Appends a code point. Surrogates are no characters: the caller has refused them.
void append_character(std::string& text, uint32_t code);

}  // namespace lt2::jinja
