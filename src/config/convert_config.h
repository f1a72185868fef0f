#pragma once
// Arguments of `convert`.
#include <cstdint>
#include <string>

#include "config/fields.h"

namespace lt2 {

struct ConvertConfig {
  std::string in, out, to, dtype = "fp32";
  int64_t shard_size = 5'000'000'000;

  bool operator==(const ConvertConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("in", in, verbatim_path(), "checkpoint, model folder, run's folder or .pth file; required");
    visit("out", out, verbatim_path(), "folder to write, which must not exist; required");
    visit("to", to, one_of({"lt2", "official", "hf"}), "the form to write; required");
    visit("dtype", dtype, one_of({"fp32", "bf16"}), "hf: type of the weights; the other forms hold fp32");
    visit("shard_size", shard_size, amount(at_least(1)), "hf: most bytes of weights in a file");
  }
};

}  // namespace lt2
