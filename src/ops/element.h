#pragma once
// The types of the numbers that kernels read and write, for all operations. Knows no torch; ops/dtype.h converts.
#include <cstdint>

namespace lt2 {

/// Activations and their gradients are fp32 or bf16, which kernels hold as uint16_t. Only packed weights are int8 (a
/// scale per output channel) or int4 (a scale per group of input channels).
enum class Element : uint8_t { kF32, kBf16, kInt8, kInt4 };

/// What a packed weight is kept in.
using WeightFormat = Element;

}  // namespace lt2
