#pragma once
#include "ops/block_selection/op.h"

namespace lt2 {

/// The reference by blocks of 256 queries: memory grows with L, not with L x N.
BlockSelection block_selection_by_query_block(const BlockSelectionInput& in);

}  // namespace lt2
