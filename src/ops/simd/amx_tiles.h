#pragma once
// How every kernel that multiplies with AMX tiles sets them up: eight of 16 rows of 64 bytes. For x86-64 only.
#include <cstdint>

namespace lt2 {

struct alignas(64) AmxTileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(AmxTileConfig) == 64);
inline const AmxTileConfig kWholeAmxTiles;

}  // namespace lt2
