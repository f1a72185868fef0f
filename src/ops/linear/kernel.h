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
//
// Where the processor has a unit for bf16 products (ops/simd/tile_unit.h) and both operands are bf16, it multiplies
// them: the weight is packed for it (tile_product.h) and the chain is the unit's, the same for every M.
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

struct TileUnit;

/// W in panels of fp32 or bf16.
struct Panels {
  int64_t N = 0, K = 0;
  int64_t width = 0;  // 0: not packed
  Element element = Element::kF32;
  const TileUnit* unit = nullptr;  // packed for the processor's bf16 unit
  AlignedBytes data;
};

/// Output channels of a panel for the instruction set in use.
int64_t linear_panel_width();

/// Packs weight [N, K], rounding it when `element` is bf16.
Panels linear_pack(const float* weight, int64_t N, int64_t K, Element element);

/// Whether `panels` hold what linear_pack (or linear_pack_backward) would make of a [N, K] weight now.
bool linear_panels_current(const Panels& panels, int64_t N, int64_t K);

/// Packs the weight, rounded to bf16, for dx = dy W on the processor's bf16 unit. There must be one.
Panels linear_pack_backward(const float* weight, int64_t N, int64_t K);
/// Whether products of two `element` operands run on such a unit.
bool linear_uses_unit(Element element);

/// Where finished sums go, and what is done to them on the way. All matrices [M, N], contiguous.
struct Epilogue {
  void* y;
  Element y_element;
  const float* residual = nullptr;  // y = residual + sum; fp32 y only
  const void* gate = nullptr;       // y = silu(gate) * sum, gate of y's type and not y itself
  void* product = nullptr;          // with a gate: takes the sums themselves, in y's type; null: nobody wants them
};

struct LinearForward {
  int64_t M;
  Matrix x;              // [M, K]
  const Panels* weight;  // of the instruction set in use
  Epilogue to;
};
/// to.y = x W^T, finished as `to` says. x is bf16 where the panels are.
void linear_forward(const LinearForward& in);

/// The same for several weights and one x (equal M and x, weights packed alike): for few rows one parallel region, in
/// which x is widened once. The bits are those of single calls.
void linear_forward_many(const LinearForward* products, int64_t count);

struct LinearBackwardInput {
  int64_t M, N, K;
  Matrix dy;            // [M, N]
  const float* weight;  // [N, K]
  bool round_weight;    // multiply with the weight as bf16 sees it
  void* dx;             // [M, K], contiguous
  Element dx_element;
  const Panels* packed = nullptr;  // of linear_pack_backward; null: packed for this call where needed
};
/// dx = dy W.
void linear_backward_input(const LinearBackwardInput& in);

struct LinearBackwardWeight {
  int64_t M, N, K;
  Matrix dy;                // [M, N]
  Matrix x;                 // [M, K]
  float* dw;                // [N, K], contiguous
  bool accumulate = false;  // add to what dw holds
};
/// dw (+)= dy^T x.
void linear_backward_weight(const LinearBackwardWeight& in);

}  // namespace lt2
