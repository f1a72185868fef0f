#pragma once
// The processor's units that multiply pairs of bf16 numbers and add the products up in fp32: AMX tiles and
// AVX-512-BF16. Each is one function on a block of C whose operands lie packed; everything around it (packing, edges,
// blocks, threads) is shared, ops/linear/tile_product_kernel.cpp.
//
// Every element of C is one chain over ascending k: after each step of kTileDepth the unit has added that step's
// products. How it rounds inside a step is the unit's own, but never depends on the other rows or columns. So results
// differ from unit to unit in rounding, and with one unit they do not depend on M, blocks or threads.
#include <cstddef>
#include <cstdint>

namespace lt2 {

constexpr int64_t kTileDepth = 32;                       // summed elements of a step
constexpr int64_t kTileSide = 16;                        // columns of a tile of B; pairs in its depth
constexpr int64_t kTilePanel = 32;                       // columns of a block: two tiles of B
constexpr int64_t kTileStepB = kTileDepth * kTilePanel;  // elements of B a step reads

/// C [rows, kTilePanel] (+)= A B over `steps` steps. bf16 as uint16_t.
struct TileBlock {
  int64_t steps;
  int64_t rows;       // at most the unit's, a multiple of its row_step
  const uint16_t* a;  // [steps][rows][kTileDepth]
  const uint16_t* b;  // [steps][2 tiles][kTileDepth / 2][kTileSide][2]: pairs of neighbours in k side by side
  float* c;
  ptrdiff_t ldc;
  bool fresh;  // C starts from zero, not from what it holds
};

struct TileUnit {
  const char* name;
  int64_t rows;      // of a block at most
  int64_t row_step;  // rows of a block come in multiples of this
  /// Around the blocks that a thread multiplies in one go.
  void (*begin)();
  void (*multiply)(const TileBlock& block);
  void (*end)();
  /// `count` rounds of multiply-adds that never leave the registers, between begin and end; returns their flops.
  double (*chains)(int64_t count);
  /// The same on numbers other than zero that come from the first-level cache, as a product's do.
  double (*loaded_chains)(int64_t count);
};

/// The unit that bf16 products use: the best that the processor has, the system permits and a product at the first
/// call found right (otherwise one warning line). Null: none, they take fp32 multiply-adds; also below AVX-512
/// (isa.h, LT2_ISA).
const TileUnit* tile_unit();

/// For tests: use `unit` (null: none) from now on; restore with tile_unit_reset().
void tile_unit_force(const TileUnit* unit);
void tile_unit_reset();

/// Plain code with the block shapes of AMX, of AVX-512-BF16: the judge of the units, and their stand-in for tests on
/// machines that have neither.
extern const TileUnit kEmulatedAmx, kEmulatedAvx512Bf16;

/// Null where this program was compiled for another architecture. May only run where cpu_info() says so.
const TileUnit* amx_unit();
const TileUnit* avx512_bf16_unit();

/// Multiplies small whole numbers, which every order of summation gets exactly, and compares with plain code.
bool tile_unit_is_right(const TileUnit& unit);

}  // namespace lt2
