// One line of a .jsonl file from anywhere: its text or an error, nothing else.
//
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/jsonl_fuzz.cpp src/data/json_line.cpp
//       src/base/utf8.cpp -lfmt
#include <cstdint>
#include <string>

#include "base/error.h"
#include "data/json_line.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Its own block of memory, so that the sanitizer sees the first byte read beyond it.
  const std::string line(reinterpret_cast<const char*>(data), size);
  try {
    const auto found = lt2::text_of_json_line(line);
    // An escape never gets longer by being read: "\u0041" is six bytes, its character at most three.
    if (found.text.size() > line.size() || found.lone_surrogates < 0) __builtin_trap();
  } catch (const lt2::Error&) {
  }
  return 0;
}
