#pragma once
// The memory of CPU tensors: freed blocks are kept and handed out again.
//
// A decode step makes the same tensors as the step before it, and so does a training step. Taking their memory from a
// pool means that after the first of them nothing is asked of the system any more: no page is faulted in, nothing is
// zeroed by the kernel. Blocks come in size classes an eighth of a power of two apart, aligned to a cache line; large
// ones to huge pages.
#include <cstdint>

namespace lt2 {

struct TensorPoolCounts {
  int64_t system_allocations = 0;  // blocks ever taken from the system
  int64_t live_bytes = 0;          // in tensors
  int64_t kept_bytes = 0;          // freed, waiting to be used again
  int64_t peak_bytes = 0;          // most live_bytes since tensor_pool_reset_peak()
};

/// Makes torch take the memory of CPU tensors from the pool, for the rest of the process. Tensors made before keep
/// theirs. Safe to call again.
void install_tensor_pool();

TensorPoolCounts tensor_pool_counts();
void tensor_pool_reset_peak();
/// Gives all kept blocks back to the system.
void tensor_pool_trim();

}  // namespace lt2
