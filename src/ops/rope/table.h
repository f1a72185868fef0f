#pragma once
// Cosines and sines of the rotary angles.
#include <vector>

#include "base/torch.h"
#include "ops/rope/op.h"

namespace lt2 {

/// [count, E]: row p holds the E / 2 cosines, then the E / 2 sines, of position first + p. Computed in `type`, fp32 or
/// fp64; theta on the CPU, so that every device rotates by the same angles.
torch::Tensor rope_table(double base, int64_t E, int64_t first, int64_t count, torch::ScalarType type,
                         torch::Device device);

/// Pointers to the fp32 rows of positions first .. first + count - 1, computed at their first use and valid until the
/// program ends. Safe to call from several threads.
std::vector<const float*> rope_cached_rows(double base, int64_t E, int64_t first, int64_t count, RopeAngles angles);

}  // namespace lt2
