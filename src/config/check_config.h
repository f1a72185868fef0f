#pragma once
// Arguments of `check`, besides the vector files.
#include <string>

#include "config/fields.h"

namespace lt2 {

struct CheckConfig {
  bool strict = false;
  std::string dtype = "fp32", device = "cpu";

  bool operator==(const CheckConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("strict", strict, any(), "a skipped file is a failure");
    visit("dtype", dtype, one_of({"fp32", "bf16"}), "type of the products; each has its own limits");
    visit("device", device, one_of({"cpu", "cuda"}), "where to compute");
  }
};

}  // namespace lt2
