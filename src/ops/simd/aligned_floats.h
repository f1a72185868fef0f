#pragma once
// Scratch of kernels: aligned for the widest vectors, or std::bad_alloc, which the program turns into a clear line.
#include <hwy/aligned_allocator.h>

#include <cstdint>
#include <new>

namespace lt2 {

inline hwy::AlignedFreeUniquePtr<float[]> aligned_floats(int64_t count) {
  auto memory = hwy::AllocateAligned<float>(static_cast<size_t>(count));
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace lt2
