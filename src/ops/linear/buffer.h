#pragma once
// Memory for panels and blocks: aligned to a cache line, in large pages where it is large, never initialised.
#include <cstddef>
#include <memory>

namespace lt2 {

struct AlignedFree {
  void operator()(std::byte* p) const noexcept;
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedFree>;

/// At least `bytes` bytes. Throws std::bad_alloc.
AlignedBytes aligned_bytes(size_t bytes);

/// Scratch that a thread keeps from call to call: fresh memory would fault in page by page every time.
class Scratch {
 public:
  /// Room for `count` floats, contents undefined; what an earlier call returned is void.
  float* floats(size_t count) {
    if (count > capacity_) {
      bytes_.reset();
      bytes_ = aligned_bytes(count * sizeof(float));
      capacity_ = count;
    }
    return reinterpret_cast<float*>(bytes_.get());
  }

 private:
  AlignedBytes bytes_;
  size_t capacity_ = 0;
};

}  // namespace lt2
