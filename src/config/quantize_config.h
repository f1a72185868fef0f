#pragma once
// Arguments of `quantize`.
#include <cstdint>
#include <optional>
#include <string>

#include "config/fields.h"

namespace lt2 {

struct QuantizeConfig {
  std::string ckpt, out, weights = "int8", dtype = "bf16";
  std::optional<std::string> text;
  int64_t tokens = 8192, window = 512;

  bool operator==(const QuantizeConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("ckpt", ckpt, verbatim_path(), "checkpoint or model folder");
    visit("out", out, verbatim_path(), "folder to write; empty: only measure");
    visit("weights", weights, one_of({"bf16", "int8", "int4"}),
          "bf16, int8 (a scale per output channel) or int4 (a scale per 64 input channels)");
    visit("text", text, verbatim_path(), "text file on which the quality is measured against bf16; null: not measured");
    visit("tokens", tokens, at_least(2), "of the text, from its beginning");
    visit("window", window, at_least(1), "tokens read from an empty state at a time");
    visit("dtype", dtype, one_of({"fp32", "bf16"}), "type of the products in the measurement");
  }
};

}  // namespace lt2
