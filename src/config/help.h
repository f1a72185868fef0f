#pragma once
// Lists of fields for people: this writes `lt2 COMMAND --help` and docs/configuration.md from the declarations.
#include <cstddef>
#include <string>
#include <vector>

#include "config/fields.h"

namespace lt2 {

/// `text` in lines of at most `width` characters, broken at spaces; words longer than that stay whole. Lines after the
/// first begin with `indent` spaces, which count; the first is taken to begin at column `column`.
std::string wrapped(const std::string& text, size_t width, size_t indent = 0, size_t column = 0);

/// "  key=default  what it means [values]" for each field, under the headings of their sections. The fields without
/// effect come last, under their own heading, with the reason.
std::string field_list(const std::vector<Field>& fields, size_t width);

/// The same as Markdown tables: key, type, default, values, meaning. Headings are of `level` #.
std::string field_tables(const std::vector<Field>& fields, size_t level);

}  // namespace lt2
