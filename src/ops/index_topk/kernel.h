#pragma once
// Kernel of index_topk for the CPU, without torch: raw pointers, strides in elements, the last axis contiguous.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

struct IndexTopkShape {
  int64_t B, L, S;  // query l stands at position S - L + l
  int64_t J, F;     // index heads and their channels
  int64_t count;    // columns of the result
  Element element;  // of q and k
};

struct IndexTopkData {
  const void* q;         // (b, l, j, f) at q_batch b + q_position l + F j + f
  const void* k;         // (b, s, f) at k_batch b + k_position s + f
  const float* weights;  // [B, L, J] contiguous; null: the mean of the heads' queries scores
  int64_t q_batch, q_position, k_batch, k_position;
  int32_t* indices;  // [B, L, count]
};

void index_topk_select(const IndexTopkShape& shape, const IndexTopkData& data);

}  // namespace lt2
