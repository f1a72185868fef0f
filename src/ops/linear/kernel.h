#pragma once
// The products of a linear map on raw pointers. Knows no torch.
//
// Dimensions: M rows (tokens), N output channels, K input channels. W is [N, K] row-major fp32.
// bf16 is uint16_t; it is widened to fp32 in registers, multiplied and summed in fp32, and rounded (to nearest even)
// once, when a result is stored as bf16. Every result is one chain of multiply-adds over the summed dimension in
// ascending order, from zero: blocks, threads and neighbouring rows never change a bit of it.
//
// Panels: the weight is packed as [N / width][K][width], `width` output channels side by side, so that a tile of the
// product reads it front to back exactly once. The last panel is as narrow as whole vectors allow and padded with
// zeros. The width belongs to the instruction set in use.
#include <cstddef>
#include <cstdint>

#include "ops/linear/buffer.h"

namespace lt2 {

enum class Element : uint8_t { kF32, kBf16 };

/// Row-major [rows, cols] in memory, rows `ld` elements apart.
struct Matrix {
  const void* data;
  Element element;
  ptrdiff_t ld;
};

/// W in panels of fp32 or bf16.
struct Panels {
  int64_t N = 0, K = 0;
  int64_t width = 0;  // 0: not packed
  Element element = Element::kF32;
  AlignedBytes data;
};

/// Output channels of a panel for the instruction set in use.
int64_t linear_panel_width();

/// Packs weight [N, K], rounding it when `element` is bf16.
Panels linear_pack(const float* weight, int64_t N, int64_t K, Element element);

struct LinearForward {
  int64_t M;
  Matrix x;               // [M, K]
  const Panels* weight;   // of the instruction set in use
  const float* residual;  // [M, N], added to the finished sum; null: none. Only with fp32 y
  void* y;                // [M, N], contiguous
  Element y_element;
};
/// y = x W^T (+ residual).
void linear_forward(const LinearForward& in);

struct LinearBackwardInput {
  int64_t M, N, K;
  Matrix dy;            // [M, N]
  const float* weight;  // [N, K]
  bool round_weight;    // multiply with the weight as bf16 sees it
  void* dx;             // [M, K], contiguous
  Element dx_element;
};
/// dx = dy W.
void linear_backward_input(const LinearBackwardInput& in);

struct LinearBackwardWeight {
  int64_t M, N, K;
  Matrix dy;  // [M, N]
  Matrix x;   // [M, K]
  float* dw;  // [N, K], contiguous
};
/// dw = dy^T x.
void linear_backward_weight(const LinearBackwardWeight& in);

}  // namespace lt2
