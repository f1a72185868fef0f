#pragma once
// The CPU forms of the linear recurrence on raw pointers. One work item is one head of one sequence; nothing it
// computes depends on the other items or on the number of threads.
#include <cstddef>
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

/// A tensor [B, L, H, n], strides in elements; the n numbers of a row lie side by side.
struct RecurrenceRows {
  void* data = nullptr;
  ptrdiff_t batch = 0, token = 0, head = 0;
};

enum class RecurrenceDecay { kNone, kScalar, kVector };

struct RecurrenceArgs {
  int64_t B, L, H, K, V;
  Element element;  // of q, k, v, o and of their gradients
  RecurrenceDecay decay;
  RecurrenceRows q, k, v;
  RecurrenceRows g, beta;        // fp32; beta without data: additive write
  const float* state = nullptr;  // [B, H, K, V]; null: zero
  float scale = 1;
  int64_t position = 0;
  int64_t chunk = 64;
};

struct RecurrenceGradients {
  RecurrenceRows d_o;              // in; without data: zero
  const float* d_state = nullptr;  // in, [B, H, K, V], of the final state; null: zero
  RecurrenceRows dq, dk, dv, dg, dbeta;
  float* d_initial_state = nullptr;  // null: not wanted
};

/// Fills o and final_state [B, H, K, V] (which may be args.state itself). Tokens between two chunk borders are taken
/// one by one if they are fewer than min_chunk_tokens, as a chunk otherwise.
void recurrence_forward(const RecurrenceArgs& args, const RecurrenceRows& o, float* final_state,
                        int64_t min_chunk_tokens);

/// Gradients from the inputs alone: runs the chunks forward again, keeping the state before each of them (about
/// L (K V / chunk + V) numbers per thread), then goes backward.
void recurrence_backward(const RecurrenceArgs& args, const RecurrenceGradients& gradients);

}  // namespace lt2
