#include "ops/dtype.h"

#include "base/error.h"
#include "ops/linear/packed_weight.h"

namespace lt2 {

Element element_of(torch::ScalarType type) {
  if (type == torch::kFloat32) return Element::kF32;
  LT2_CHECK(type == torch::kBFloat16, "kernels compute in fp32 or bf16; found {}", c10::toString(type));
  return Element::kBf16;
}

torch::ScalarType torch_type(Element element) {
  if (element == Element::kF32) return torch::kFloat32;
  LT2_CHECK(element == Element::kBf16, "tensors hold fp32 or bf16; found {}", weight_format_name(element));
  return torch::kBFloat16;
}

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
