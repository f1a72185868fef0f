#pragma once
// Python's two ways to put values into a text, and the moment as text.
#include <string>
#include <string_view>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

/// format % arguments: a tuple's items, a dict's members for %(name)s, or one value.
Value format_percent(Runtime& run, const std::string& format, const Value& arguments);

/// format.format(...).
Value format_braces(Runtime& run, const std::string& format, const Arguments& arguments);

/// format(value, spec): [[fill]align][sign][#][0][width][,][.precision][type].
std::string format_value(Runtime& run, const Value& value, std::string_view spec);

/// datetime.now().strftime(format).
std::string format_time(Runtime& run, const std::string& format);

}  // namespace lt2::jinja
