#include "ops/linear/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace lt2 {

void AlignedFree::operator()(std::byte* p) const noexcept { std::free(p); }

AlignedBytes aligned_bytes(size_t bytes) {
  constexpr size_t kLine = 64, kLargePage = size_t{2} << 20;
  const size_t alignment = bytes >= kLargePage ? kLargePage : kLine;
  const size_t rounded = (bytes + kLine - 1) / kLine * kLine;
  void* p = nullptr;
  if (posix_memalign(&p, alignment, rounded > 0 ? rounded : kLine) != 0) throw std::bad_alloc();
  if (alignment == kLargePage) madvise(p, rounded, MADV_HUGEPAGE);
  return AlignedBytes(static_cast<std::byte*>(p));
}

}  // namespace lt2
