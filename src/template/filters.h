#pragma once
// Filters: value|name(arguments).
#include <string>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

bool has_filter(const std::string& name);
/// The error for an unknown name: whether jinja2 has it.
std::string no_filter(const std::string& name);
/// Throws if there is no such filter.
Value apply_filter(Runtime& run, const std::string& name, const Value& value, const Arguments& arguments);

using Filter = Value (*)(Runtime& run, const Value& value, const Arguments& arguments);
/// The three tables that make up the filters; null if the table has none of that name.
Filter text_filter(const std::string& name);
Filter item_filter(const std::string& name);
Filter number_filter(const std::string& name);

}  // namespace lt2::jinja
