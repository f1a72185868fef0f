#pragma once
// How a value is to be written: what stands after the colon of {:>8.2f}, or after the % of %8.2f.
#include <string>
#include <string_view>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

struct FormatSpec {
  std::string fill = " ";
  char align = '\0';       // < > ^ = or none
  char sign = '-';         // - + or space
  bool alternate = false;  // 0x in front of hexadecimal
  char group = '\0';       // , or _
  int64_t width = 0;
  int64_t precision = -1;  // -1: none
  char type = '\0';
};

/// A number of digits at the start of `text`, which it loses; `otherwise` if there are none.
int64_t take_number(std::string_view& text, int64_t otherwise);

/// Digits with their sign, not yet padded. The value must be a number.
std::string number_text(Runtime& run, const Value& value, const FormatSpec& spec);

/// `text` at the width that the spec asks for. Zeros go between a sign and the digits.
std::string padded(Runtime& run, std::string text, const FormatSpec& spec, char align);

}  // namespace lt2::jinja
