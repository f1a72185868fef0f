#pragma once
// Tests: value is name(arguments).
#include <string>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

bool has_test(const std::string& name);
/// Throws if there is no such test.
bool apply_test(Runtime& run, const std::string& name, const Value& value, const Arguments& arguments);

}  // namespace lt2::jinja
