#pragma once
// bf16 products on a unit of the processor (ops/simd/tile_unit.h):  C [M, N] (+)= A [M, K] B [K, N], sums in fp32.
//
// B is packed for the unit: panels of kTilePanel columns, [N / 32][K / 32][2][16][16][2], padded with zeros. It is the
// same for every unit and every M. Knows no torch.
#include <cstdint>

#include "ops/linear/kernel.h"
#include "ops/simd/tile_unit.h"

namespace lt2 {

/// Rows of a matrix as they lie in memory: of the result's rows (A) or columns (B), the summed dimension along them, or
/// across them, when they are rows of the summed dimension.
struct TileOperand {
  Matrix from;
  bool across;
};

/// Bytes of B [K, N] packed.
size_t tile_packed_bytes(int64_t N, int64_t K);
/// Where the number (n, k) lies in it.
inline int64_t tile_index(int64_t K, int64_t n, int64_t k) {
  const int64_t step =
      (n / kTilePanel * ((K + kTileDepth - 1) / kTileDepth) + k / kTileDepth) * 2 + n % kTilePanel / kTileSide;
  return (step * (kTileDepth / 2) + k % kTileDepth / 2) * kTileSide * 2 + n % kTileSide * 2 + k % 2;
}
/// Packs B, rounding fp32 to bf16.
void tile_pack(const TileOperand& b, int64_t N, int64_t K, uint16_t* to);

struct TileProduct {
  int64_t M, N, K;
  TileOperand a;      // bf16
  const uint16_t* b;  // packed
  Epilogue c;
  bool fresh;  // from zero, not from what c.y (fp32) holds
};
void tile_product(const TileUnit& unit, const TileProduct& in);

}  // namespace lt2
