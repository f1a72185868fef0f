#pragma once
// Rotary position embedding, angle a = t * theta_i with theta_i = base^(-2i/E), i = 0 .. E/2 - 1:
//   kPairs   (x[2i], x[2i+1])    lingua: `full`
//   kHalves  (x[i], x[i+E/2])    mla, nsa, dsa, Ouro, retnet
// each pair (a, b) -> (a cos - b sin, a sin + b cos). Tables in fp32 exactly as checkpoints were trained: theta_i, t *
// theta_i, cos and sin each rounded to fp32; the rotation in fp32, rounded once to the input type. Sources: arXiv
// 2104.09864, section 3.2.2; lingua's apply_rotary_emb.
//
// Cost: with z bytes a number of x, 3.5 B L H E flops and 2 z B L H E + 4 L E bytes, forward and backward. A table of
// 512 positions is made once. Error, of the largest absolute value of the reference tensor: fp32 1e-6, gradients 1e-6;
// bf16 5e-3, gradients 5e-3. The reference is fp64 (for gradients fp32) on the same fp32 table; kExact lies 1e-6
// from an fp64 table for fp32 x, gradients 1e-5.
#include "base/torch.h"

namespace lt2 {

enum class RopeLayout { kPairs, kHalves };
/// kTrained: tables in fp32 as above. kExact: computed in fp64, then rounded (retnet): fp32 angles are off by 2e-4 at
/// position 4096.
enum class RopeAngles { kTrained, kExact };

/// x [B, L, H, E], E even, rotated for positions first, first + 1, ...; same shape and dtype. Differentiable.
torch::Tensor rope(const torch::Tensor& x, double base, int64_t first_position, RopeLayout layout,
                   RopeAngles angles = RopeAngles::kTrained);
/// Plain torch, any type and device, differentiable; in fp64 the tables are fp64 too.
torch::Tensor rope_reference(const torch::Tensor& x, double base, int64_t first_position, RopeLayout layout,
                             RopeAngles angles = RopeAngles::kTrained);

}  // namespace lt2
