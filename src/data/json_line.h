#pragma once
// The text of one line of a .jsonl file.
#include <cstdint>
#include <string>
#include <string_view>

namespace lt2 {

struct LineText {
  std::string text;             // bytes of the string as they stand: possibly broken UTF-8
  int64_t lone_surrogates = 0;  // escapes like \uD800 without a partner, read as U+FFFD
};

/// The value of "text", else of "content", in the JSON object `line`; other keys are checked and passed over. Reads
/// what Python's json does: the last of equal keys counts, NaN and Infinity are numbers. Throws lt2::Error that says
/// what is wrong but not in which file and line.
LineText text_of_json_line(std::string_view line);

}  // namespace lt2
