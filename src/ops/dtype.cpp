#include "ops/dtype.h"

#include "base/error.h"
#include "ops/linear/packed_weight.h"

namespace lt2 {

torch::ScalarType parse_dtype(const std::string& name, const std::string& field) {
  if (name == "fp32") return torch::kFloat32;
  if (name == "bf16") return torch::kBFloat16;
  fail("{} must be fp32 or bf16; found \"{}\"", field, name);
}

const char* dtype_name(torch::ScalarType type) { return type == torch::kBFloat16 ? "bf16" : "fp32"; }

WeightFormat parse_weight_format(const std::string& text, const std::string& field) {
  for (const auto format : {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    if (text == weight_format_name(format)) return format;
  }
  fail("{} must be fp32, bf16, int8 or int4; found \"{}\"", field, text);
}

}  // namespace lt2
