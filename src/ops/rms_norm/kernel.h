#pragma once
// Row kernels of rms_norm, its gated form and l2_norm:
//   r = 1 / sqrt(mean_factor * sum(x^2) + eps),   y = x r w    or, gated,    y = x r w silu(gate)
// The plain norm has mean_factor = 1 / width, l2_norm has 1 and no weight.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

struct NormRows {
  int64_t rows, width;
  float mean_factor, eps;
  const float* weight;  // [width] or null: ones
};

/// Raw numbers, fp32 or bf16.
struct NormInput {
  const void* data;
  Element element;
};
struct NormOutput {
  void* data;
  Element element;
};

/// inverse [rows] receives r unless null.
void norm_forward(const NormRows& norm, NormInput x, NormOutput y, float* inverse);
/// dx has the type of x. dweight [width] unless null.
void norm_backward(const NormRows& norm, NormInput x, NormInput dy, const float* inverse, NormOutput dx,
                   float* dweight);

/// x, gate, y and their gradients all have one type.
void norm_gate_forward(const NormRows& norm, Element element, const void* x, const void* gate, void* y, float* inverse);
void norm_gate_backward(const NormRows& norm, Element element, const void* x, const void* gate, const void* dy,
                        const float* inverse, void* dx, void* dgate, float* dweight);

}  // namespace lt2
