#pragma once
#include <cstdint>

namespace lt2 {

/// out [rows, n] = -rate[n] softplus(x[rows, n] + bias[n]), all fp32.
void log_decay_forward(const float* x, const float* rate, const float* bias, float* out, int64_t rows, int64_t n);
/// out [n] = scale sigmoid(x[n]), fp32.
void write_strength_forward(const float* x, float scale, float* out, int64_t n);

}  // namespace lt2
