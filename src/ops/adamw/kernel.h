#pragma once
// AdamW's step and the norm that clips gradients, on raw fp32 arrays.
//
//   p = p decay;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2,  g scaled by gradient_scale
//   p = p - step_size m / (sqrt(v) inverse_root_correction + epsilon)
//
// Cost: 15 operations and 28 bytes a number, elementwise: the order of the work changes no bit. Source: arXiv
// 1711.05101, algorithm 2, in the order of torch.optim.AdamW.
#include <cstdint>

namespace lt2 {

/// Constants of one AdamW step of one parameter (train/adamw.h).
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
