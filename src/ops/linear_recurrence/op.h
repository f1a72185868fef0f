#pragma once
// One recurrence for every linear mixer: a memory S that fades, is written to, and is read.
// Per batch row and head, for t = 1..L:
//     S   = exp(g_t) S                        fade: not at all | by a scalar | row by row
//     u_t = v_t                               additive write
//     u_t = beta_t (v_t - S^T k_t)            delta write: only what recalling v_t from k_t got wrong
//     S   = S + k_t u_t^T
//     o_t = scale S^T q_t                     read, after the write
//
//                    additive                 delta
//     no decay       la                       deltanet
//     scalar         retnet, mamba2           gdn
//     vector         gla, hgrn2               kda
//
// Sources: arXiv 2412.06464, section 3 (gated delta rule; S is [V, K] there, [K, V] here), 2510.26692, section 3 (KDA:
// decay first, then the delta step).
//
// Cost a token and head in chunks of C = 64 (z bytes a number of q; decays not counted): 4 K V + C (K + V) flops, delta
// 6 K V + 2 C (K + V), token by token 5 K V, delta 7 K V; 2 z (K + V) bytes, 4 a number of g and beta, 8 K V a call.
// Backward reruns forward: 10 K V + C (3 K + 2 V) flops, delta 16 K V + C (7 K + 5 V); z (5 K + 4 V) bytes, 12 a number
// of g and beta, about 8 (K V / C + V) of scratch. Error, of the largest absolute value of the fp64 reference tensor:
// fp32 2e-5, gradients 5e-5; bf16 2e-2, gradients 2e-2.
#include "base/torch.h"

namespace lt2 {

struct LinearRecurrenceInput {
  torch::Tensor q, k;    // [B, L, H, K]
  torch::Tensor v;       // [B, L, H, V]
  torch::Tensor g;       // log decay <= 0, fp32: undefined (none) | [B, L, H] (scalar) | [B, L, H, K] (vector)
  torch::Tensor beta;    // [B, L, H] fp32 write strength: undefined means additive, defined means delta
  torch::Tensor state;   // [B, H, K, V] fp32; undefined means zero
  double scale = 1.0;    // K^-1/2 for all mixers but mamba2
  int64_t position = 0;  // tokens that `state` has seen: chunk borders lie at absolute multiples of kRecurrenceChunk
  bool inplace_state = false;  // write the final state over `state` (fp32, contiguous) and return that; not in training
};

/// `in` of its `count` tokens from `begin` alone; state and position stay those of the first token.
LinearRecurrenceInput part_of(const LinearRecurrenceInput& in, int64_t begin, int64_t count);

struct LinearRecurrenceOutput {
  torch::Tensor o;      // [B, L, H, V], dtype of v
  torch::Tensor state;  // [B, H, K, V] fp32, after token L
};

/// Tokens per chunk of the chunked form. Splitting a sequence at multiples of it changes no bit of any result.
inline constexpr int64_t kRecurrenceChunk = 64;

/// The op as models call it: any L >= 1, fp32 or bf16 q, k, v; differentiable in all inputs. CPU: the chunked kernel
/// (token steps for short rests); fp64 there: the reference; elsewhere: the torch form. Within 2e-5 (values, states)
/// and 5e-5 (gradients) of the reference in fp32, relative to the largest element. Throws lt2::Error if shapes
/// disagree.
LinearRecurrenceOutput linear_recurrence(const LinearRecurrenceInput& in);

/// fp64 loop over tokens: slow, obvious, the judge of every other form. Differentiable. Outputs fp64.
LinearRecurrenceOutput linear_recurrence_reference(const LinearRecurrenceInput& in);

/// The chunked form in plain torch operations, in the type of the input (fp32 or fp64; others compute in fp32), any
/// device. Differentiable by autograd.
LinearRecurrenceOutput linear_recurrence_torch(const LinearRecurrenceInput& in, int64_t chunk = kRecurrenceChunk);

/// Token by token in C++ fp32 with all threads, forward only: the yardstick of the benchmark and the decode form.
LinearRecurrenceOutput linear_recurrence_steps(const LinearRecurrenceInput& in);

}  // namespace lt2
