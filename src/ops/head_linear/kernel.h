#pragma once
// The product of head_linear for the CPU, without torch.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

struct HeadLinearShape {
  int64_t R, H, K, N;
  Element element;        // of x and y
  int64_t x_row, x_head;  // elements between rows and heads of x; channels contiguous
};

/// y [R, H, N] contiguous = x [R, H, K] times weight [H, K, N] fp32 contiguous.
void head_linear_forward(const HeadLinearShape& shape, const void* x, const float* weight, void* y);

}  // namespace lt2
