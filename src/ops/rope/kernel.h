#pragma once
// Rotation of pairs by the angles of a table. Pointers to fp32 or bf16, as `element` says.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

struct RopeShape {
  int64_t B, L, H, E;
  bool pairs;  // neighbours (2i, 2i + 1); else halves (i, i + E / 2)
  Element element;
  bool inverse;  // rotate by the negative angle: the backward pass
};

/// x, y [B, L, H, E]. table[t] points to the cosines, then the sines, of token t: E / 2 each.
void rope_rotate(const RopeShape& shape, const void* x, const float* const* table, void* y);

}  // namespace lt2
