#pragma once
// Types of numbers: torch's, the kernels' (ops/element.h), and the names that options use.
#include <string>

#include "base/torch.h"
#include "ops/element.h"

namespace lt2 {

/// The one way from torch's type to a kernel's: fp32 and bf16. Throws lt2::Error for others, which no kernel takes
/// (kernel_takes in ops/kernel_dispatch.h).
Element element_of(torch::ScalarType type);
inline Element element_of(const torch::Tensor& x) { return element_of(x.scalar_type()); }
/// The other way, of fp32 and bf16.
torch::ScalarType torch_type(Element element);

/// "fp32" | "bf16" -> torch type; anything else: lt2::Error naming `field`.
torch::ScalarType parse_dtype(const std::string& name, const std::string& field);
/// The other way.
const char* dtype_name(torch::ScalarType type);

/// "fp32", "bf16", "int8", "int4". Throws lt2::Error naming `field`.
WeightFormat parse_weight_format(const std::string& name, const std::string& field);

}  // namespace lt2
