#pragma once
// The methods of a text by name.
#include <string>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

using Method = Value (*)(Runtime& run, const Value& self, const Arguments& arguments);

/// Null if texts have no such method.
Method text_method(const std::string& name);

}  // namespace lt2::jinja
