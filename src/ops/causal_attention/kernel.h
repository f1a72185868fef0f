#pragma once
// Kernels of causal_attention for the CPU, without torch: raw pointers, strides in elements, channels always
// contiguous.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

struct AttentionShape {
  int64_t B, L, S, H, Hk;
  int64_t E, Ev;           // channels of q and k, of v and o
  int64_t window;          // >= 1; kNoWindow: unlimited
  int64_t first_position;  // absolute position of key 0; query l stands at first_position + S - L + l
  float scale;
  Element element;  // of q, k, v, o and their gradients
};

// Large, yet sums of a position and a window stay far from overflow.
inline constexpr int64_t kNoWindow = int64_t{1} << 60;

/// Element (b, t, h, e) is at data[b * batch + t * position + h * head + e].
template <typename Pointer>
struct AttentionView {
  Pointer data;
  int64_t batch, position, head;
};
using AttentionInputView = AttentionView<const void*>;
using AttentionOutputView = AttentionView<void*>;

/// lse2 [B, H, L], null if not wanted: log2 of the sum over visible keys of 2^(q . k * scale * log2(e)), which is what
/// the backward pass needs to recompute the probabilities.
void causal_attention_forward(const AttentionShape& shape, AttentionInputView q, AttentionInputView k,
                              AttentionInputView v, AttentionOutputView o, float* lse2);

struct AttentionGradients {
  AttentionOutputView q, k, v;
};

/// Recomputes the probabilities block by block from lse2. Every element of the gradients is written.
void causal_attention_backward(const AttentionShape& shape, AttentionInputView q, AttentionInputView k,
                               AttentionInputView v, AttentionInputView o, const float* lse2, AttentionInputView grad_o,
                               const AttentionGradients& grad);

}  // namespace lt2
