#pragma once
// Exact selection of the largest numbers of a row: what NSA's blocks and DSA's keys are chosen with. Without torch.
#include <cstdint>

namespace lt2 {

/// Indices of the min(count, n) largest of scores[0 .. n), ascending, to `out`; returns how many. Among equal scores
/// the smaller index goes first (-0 equals 0); NaN counts as the smallest. The choice depends on the values alone.
/// O(n).
int64_t select_largest(const float* scores, int64_t n, int64_t count, int32_t* out);

}  // namespace lt2
