#pragma once
// The products of a linear map on raw pointers. Knows no torch.
//
// Dimensions: M rows (tokens), N output channels, K input channels. W is [N, K] row-major fp32; packing also
// takes bf16. bf16 is uint16_t; it is widened to fp32 (in scratch memory; panels in registers where rows are few),
// multiplied and summed in fp32, and rounded (to nearest even) once, when a result is stored as bf16. Every result is
// one chain of multiply-adds over the summed dimension in ascending order, from zero, with `accumulate` from what is
// there (see below: of the units' own steps where one multiplies, of the sums of groups with int4): blocks, threads and
// neighbouring rows never change a bit of it.
//
// Panels: the weight is packed as [N / width][K][width], `width` output channels side by side, so that a tile of the
// product reads it front to back exactly once. The last panel is as narrow as whole vectors allow and padded with
// zeros. The width belongs to the instruction set in use.
//
// Packed weights may also be int8 or int4. Their panels are kQuantWidth channels wide on every machine, rows of words
// [N / 16][K / pack][16] that hold `pack` neighbours in k each: int8 four bytes less 128, the first lowest, with an
// fp32 scale per channel, y = scale * sum; int4 eight nibbles less 8, of which the first four are the lower halves of
// the bytes and the others the upper ones, with a bf16 scale per channel and group of kQuantGroup input channels [N /
// 16][K / 64][16]: y is one chain of multiply-adds of group sums and scales. All rounded up; what lies beyond K does
// not matter. x in bf16 is multiplied by the processor's unit for bytes (ops/simd/byte_unit.h, byte_product.h) where it
// has one; otherwise, and with x in fp32, the weights are widened to fp32 as said above.
//
// Where the processor has a unit for bf16 products (ops/simd/tile_unit.h) and both operands are bf16, it multiplies
// them: the weight is packed for it (tile_product.h) and the chain is the unit's, the same for every M.
#include <cstddef>
#include <cstdint>

#include "ops/element.h"
#include "ops/linear/buffer.h"

namespace lt2 {

constexpr int64_t kQuantWidth = 16;
// Normal weights lose 9.0 % (RMS) to int4; groups of 32 would lose 8.1 % and cost 6 % more bytes.
constexpr int64_t kQuantGroup = 64;
constexpr int64_t kQuantRow = kQuantWidth * 4;  // bytes of a row of words
/// Numbers in a word of 32 bits.
constexpr int64_t quant_pack(Element element) { return element == Element::kInt8 ? 4 : 8; }
/// The lowest bit of the word's number j.
constexpr int quant_bit(Element element, int j) { return element == Element::kInt8 ? 8 * j : j % 4 * 8 + j / 4 * 4; }
/// Rows of words in a panel.
constexpr int64_t quant_words(Element element, int64_t K) {
  return (K + quant_pack(element) - 1) / quant_pack(element);
}

/// Row-major [rows, cols] in memory, rows `ld` elements apart.
struct Matrix {
  const void* data;
  Element element;
  ptrdiff_t ld;
};

struct TileUnit;

/// W in panels.
struct Panels {
  int64_t N = 0, K = 0;
  int64_t width = 0;  // 0: not packed
  Element element = Element::kF32;
  const TileUnit* unit = nullptr;  // packed for the processor's bf16 unit
  AlignedBytes data;
  const void* view = nullptr;    // the panels, where they lie in memory of others; then `data` is null
  const void* scales = nullptr;  // of int8 (fp32) and int4 (bf16)

  const void* begin() const { return view != nullptr ? view : data.get(); }
};

/// Output channels of a panel for the instruction set in use.
int64_t linear_panel_width();

/// Packs weight [N, K], fp32 or bf16, into panels of `element`, fp32 or bf16, rounding it when that is bf16.
Panels linear_pack(const Matrix& weight, int64_t N, int64_t K, Element element);

inline Panels linear_pack(const float* weight, int64_t N, int64_t K, Element element) {
  return linear_pack({weight, Element::kF32, static_cast<ptrdiff_t>(K)}, N, K, element);
}

/// How fp32 and bf16 panels lie in memory.
struct PanelLayout {
  int64_t width;   // output channels of a panel
  int64_t vector;  // those of the last panel are padded to a multiple of this
  bool tiles;      // for a bf16 unit, tile_product.h
  bool operator==(const PanelLayout&) const = default;
};
/// The one linear_pack uses for `element`.
PanelLayout linear_panel_layout(Element element);
/// The one for bf16 units.
PanelLayout linear_tile_layout();
/// Numbers in the panels of a weight [N, K].
int64_t linear_panel_numbers(const PanelLayout& layout, int64_t N, int64_t K);
/// rows [N, K] = the weight that lies in `panels` of any layout, both of fp32 or bf16, `bytes` a number.
void linear_unpack(const PanelLayout& layout, const void* panels, int64_t bytes, int64_t N, int64_t K, void* rows);

/// Quantises weight [N, K], fp32 or bf16, to int8 or int4. int8: the largest magnitude of a channel becomes 127. int4:
/// per group the bf16 scale, of those tried, whose rounding errors have the least squared sum. Returns the first
/// channel that holds a number which is not finite, or -1.
int64_t linear_quantise(const Matrix& weight, int64_t N, int64_t K, Element element, void* panels, void* scales);

/// Whether `panels` hold what linear_pack (or linear_pack_backward) would make of a [N, K] weight now.
bool linear_panels_current(const Panels& panels, int64_t N, int64_t K);

/// Packs the weight, rounded to bf16, for dx = dy W on the processor's bf16 unit. There must be one.
Panels linear_pack_backward(const float* weight, int64_t N, int64_t K);
/// The unit that products of two `element` operands run on, or null.
const TileUnit* linear_unit(Element element);
inline bool linear_uses_unit(Element element) { return linear_unit(element) != nullptr; }

/// Where finished sums go, and what is done to them on the way. All matrices [M, N], contiguous.
struct Epilogue {
  void* y;
  Element y_element;
  const float* residual = nullptr;  // y = residual + sum; fp32 y only
  const void* gate = nullptr;       // y = silu(gate) * sum, gate of y's type and not y itself
  void* product = nullptr;          // with a gate: takes the sums themselves, in y's type; null: not wanted
};

struct LinearForward {
  int64_t M;
  Matrix x;              // [M, K]
  const Panels* weight;  // of the instruction set in use, or int8, or int4
  Epilogue to;
};
/// to.y = x W^T, finished as `to` says. x may be wider or narrower than the panels: sums are fp32 then.
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
