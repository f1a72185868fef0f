#pragma once
// The processor's instructions that multiply signed with unsigned bytes and add four products up in 32 bits:
// AVX-512-VNNI and AMX tiles. They multiply int8 and int4 weights with bf16 x.
//
// x becomes whole numbers: kByteBlock neighbours share a scale, the power of two that makes the largest magnitude
// 16320 to 32512, and each is the sum of a high byte times 256 and a low byte, both signed. A bf16 number (8 bits)
// keeps all its bits unless it is at least 128 times smaller than the largest of its block; what is lost then is
// 1/32640 of that largest at most. A block whose largest is below about 2^-112 becomes zero. Products of bytes and
// their sums are exact, so every unit gives the same bits, whatever the rows, threads or blocks: an element of C is one
// chain of fp32 multiply-adds of whole sums and their scales.
#include <cstddef>
#include <cstdint>

namespace lt2 {

constexpr int64_t kByteStep = 64;    // summed elements of a step: a line of A; a group of int4
constexpr int64_t kByteBlock = 256;  // summed elements that share a scale of x
constexpr int64_t kByteSide = 16;    // channels of a panel of B
constexpr int kByteMostPanels = 4;

/// C [rows, 16 * panels] (+)= A B for at most kByteBlock summed elements. Weights are bytes less 128 [K / 4][16][4], or
/// nibbles less 8 [K / 8][16][4], in whose bytes element k + j, j < 4, is the lower half and k + 4 + j the upper.
struct ByteBlock {
  int64_t depth;
  int64_t rows;            // at most the unit's, a multiple of its row_step
  int64_t panels;          // 1, or the unit's panels() for these or more rows
  const int8_t* a;         // [depth / 64][rows][high, low][64], zeros beyond the depth
  const float* a_scales;   // [rows]: what 1 stands for in A
  const int32_t* sums;     // [rows][4]: of A's numbers, step by step
  const uint8_t* b;        // of the first panel
  ptrdiff_t panel;         // bytes from panel to panel
  const uint16_t* scales;  // int4: bf16 [depth / 64][16] of the first panel; null: int8, whose scales come later
  ptrdiff_t scales_panel;  // elements from panel to panel
  float* c;
  ptrdiff_t ldc;
  bool fresh;  // C starts from zero, not from what it holds
};

struct ByteUnit {
  const char* name;
  int64_t rows;      // of a block at most
  int64_t row_step;  // rows of a block come in multiples of this
  /// Panels to multiply `rows` rows with at once.
  int64_t (*panels)(int64_t rows);
  /// Around the blocks that a thread multiplies in one go.
  void (*begin)();
  void (*multiply)(const ByteBlock& block);
  void (*end)();
  /// `count` rounds of products that never leave the registers, between begin and end; returns the operations done,
  /// two for each pair of numbers multiplied (a number of x is two bytes).
  double (*chains)(int64_t count);
  /// The same on numbers other than zero that come from the first-level cache, as a product's do.
  double (*loaded_chains)(int64_t count);
};

/// The unit in use for `rows` rows of x: the best that the processor has, the system permits and a product at the first
/// call found right (otherwise one warning line); AMX tiles, which always multiply 16 rows, only where there are more
/// than AVX-512-VNNI takes at once. Null: none, products take fp32 multiply-adds; also below AVX-512 (isa.h, LT2_ISA).
const ByteUnit* byte_unit(int64_t rows);
constexpr int64_t kManyByteRows = 1 << 20;  // to ask for the unit of prompts

/// For tests: use `unit` (null: none) from now on; restore with byte_unit_reset().
void byte_unit_force(const ByteUnit* unit);
void byte_unit_reset();

/// Plain code with the block shapes of AVX-512-VNNI, of AMX: the judge of the units, and their stand-in in tests.
extern const ByteUnit kEmulatedVnni, kEmulatedAmxBytes;

/// Null where this program was compiled for another architecture. May only run where cpu_info() says so.
const ByteUnit* vnni_unit();
const ByteUnit* amx_byte_unit();

/// Compares with plain code, bit for bit.
bool byte_unit_is_right(const ByteUnit& unit);

}  // namespace lt2
