#pragma once
// The types that products run in and weights are packed in, by the names that options use.
#include <string>

#include "base/torch.h"
#include "ops/linear/op.h"

namespace lt2 {

/// "fp32" | "bf16" -> torch type; anything else: lt2::Error naming `field`.
torch::ScalarType parse_dtype(const std::string& name, const std::string& field);
/// The other way.
const char* dtype_name(torch::ScalarType type);

/// "fp32", "bf16", "int8", "int4". Throws lt2::Error naming `field`.
WeightFormat parse_weight_format(const std::string& name, const std::string& field);

}  // namespace lt2
