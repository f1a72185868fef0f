#pragma once
// One elementwise gate with optional parameters per channel:
//   y[r, n] = factor rate[n] act(z),   z = sign (x[r, n] + bias[n])
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

enum class GateActivationKind { kSoftplus, kSigmoid, kSwish };

struct GateShape {
  int64_t rows, n;
  GateActivationKind kind;
  Element x_element, y_element;  // y is bf16 only if x is
  float sign, factor;
  const float* rate;  // [n]; null: 1
  const float* bias;  // [n]; null: 0
};

/// x, y [rows, n].
void gate_forward(const GateShape& shape, const void* x, void* y);
/// dx [rows, n] of x's type from dy of y's type. Column sums unless null: dbias [n] of the gradient of x + bias,
/// dlog_rate [n] of y dy. Their order of summation depends on rows and n only.
void gate_backward(const GateShape& shape, const void* x, const void* dy, void* dx, float* dlog_rate, float* dbias);

}  // namespace lt2
