#pragma once
// Depthwise causal convolution of width 4 over rows of channels. Pointers to fp32 or bf16, as `element` says.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

inline constexpr int64_t kShortConvWidth = 4;

struct ShortConvShape {
  int64_t B, L, channels;
  Element element;  // of x, y, tail and their gradients
  bool silu;
  const float* weight;  // [channels, 4]
  const float* bias;    // [channels] or null
};

/// x, y [B, L, channels]; tail [B, 3, channels] holds the inputs before x.
void short_conv_forward(const ShortConvShape& shape, const void* x, const void* tail, void* y);
/// dweight [channels, 4]; dbias [channels] unless null.
void short_conv_backward(const ShortConvShape& shape, const void* x, const void* tail, const void* dy, void* dx,
                         float* dweight, float* dbias);

}  // namespace lt2
