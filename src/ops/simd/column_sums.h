#pragma once
// Sums over rows, one a column, in an order that depends on the number of rows only: every gradient of a parameter that
// all rows share is such a sum.
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/threads.h"

namespace lt2 {

/// Rows are taken in at most 32 slices. body(begin, end, partial) goes through the rows of one slice and adds to
/// partial[k] [n], which starts at zero; totals[k] [n] receives the slices' sums, added in ascending order. Where
/// totals[k] is null, partial[k] is null as well. A thread gets slices of at least about `grain` numbers.
template <size_t kSums, class Body>
void sum_columns(int64_t rows, int64_t n, int64_t grain, const std::array<float*, kSums>& totals, Body&& body) {
  constexpr int64_t kSlices = 32;
  const int64_t per_slice = (rows + kSlices - 1) / kSlices;
  const int64_t slices = per_slice ? (rows + per_slice - 1) / per_slice : 0;
  std::array<std::vector<float>, kSums> sums;
  for (size_t k = 0; k < kSums; ++k) {
    if (totals[k]) sums[k].assign(static_cast<size_t>(slices * n), 0.0F);
  }
  parallel_for(slices, grain / std::max<int64_t>(1, per_slice * n) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t slice = begin; slice < end; ++slice) {
      std::array<float*, kSums> partial;
      for (size_t k = 0; k < kSums; ++k) partial[k] = totals[k] ? sums[k].data() + slice * n : nullptr;
      body(slice * per_slice, std::min(rows, (slice + 1) * per_slice), partial);
    }
  });
  for (size_t k = 0; k < kSums; ++k) {
    if (!totals[k]) continue;
    std::fill_n(totals[k], n, 0.0F);
    for (size_t i = 0; i < sums[k].size(); ++i) totals[k][i % static_cast<size_t>(n)] += sums[k][i];
  }
}

}  // namespace lt2
