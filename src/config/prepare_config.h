#pragma once
// Arguments of `data prepare`.
#include <cstdint>
#include <string>

#include "config/fields.h"

namespace lt2 {

struct PrepareConfig {
  std::string in, out, name, on_bad_line = "error";
  int64_t nchunks = 1, validation_lines = 10000, seed = 42;

  bool operator==(const PrepareConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("in", in, verbatim(),
          "files and folders, with commas between: .txt, .jsonl, .jsonl.gz, .jsonl.zst, .parquet");
    visit("out", out, verbatim_path(), "the folder to make");
    visit("name", name, verbatim(), "what the files in it begin with");
    visit("nchunks", nchunks, within(1, 10000),
          "chunk files; the number of ranks that will train on them, or a divisor of it");
    visit("validation_lines", validation_lines, at_least(0), "lines of every chunk that go to the validation file");
    visit("seed", seed, at_least(0), "of the shuffle");
    visit("on_bad_line", on_bad_line, one_of({"error", "skip"}),
          "a line that is no JSON object with a text: stop, or leave it out and count it");
  }
};

/// The key that does not change the result.
struct PrepareMemory {
  int64_t memory = int64_t{2} << 30;

  bool operator==(const PrepareMemory&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("memory", memory, amount(at_least(1)), "bytes that may be used");
  }
};

}  // namespace lt2
