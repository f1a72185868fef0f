#pragma once
// The optimizer's inner loops on raw fp32 arrays.
#include <cstdint>

namespace lt2 {

/// Constants of one AdamW step of one parameter (see adamw.h).
struct AdamWStep {
  float decay;  // 1 - lr wd
  float beta1, beta2;
  float gradient_scale;           // clipping
  float step_size;                // lr / (1 - beta1^n)
  float inverse_root_correction;  // 1 / sqrt(1 - beta2^n)
  float epsilon;
};

/// Updates p, m, v [count] in place from g.
void adamw_step(const AdamWStep& step, float* p, float* m, float* v, const float* g, int64_t count);
/// sum g^2, in fp64.
double sum_of_squares(const float* g, int64_t count);

}  // namespace lt2
