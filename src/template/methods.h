#pragma once
// The methods of texts, lists, dicts and numbers.
#include <string>

#include "template/value.h"

namespace lt2::jinja {

/// Sets `out` to value.name, bound to the value, if its type has such a method. Those that would change it, and names
/// with a leading underscore, are there but undefined, as in jinja2's immutable sandbox.
bool find_method(const Value& value, const std::string& name, Value& out);

}  // namespace lt2::jinja
