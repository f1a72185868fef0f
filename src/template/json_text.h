#pragma once
// Values as JSON, written as Python's json.dumps does.
#include <optional>
#include <string>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

struct JsonStyle {
  std::optional<std::string> indent;  // of one level; all on one line without
  std::string item = ", ", key = ": ";
  bool sort_keys = false, ascii = false;
};

std::string json_of(Runtime& run, const Value& value, const JsonStyle& style);

}  // namespace lt2::jinja
