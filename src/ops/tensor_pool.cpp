#include "ops/tensor_pool.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <torch/version.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "base/torch.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace lt2 {
namespace {

// AddressSanitizer knows what malloc handed out, not what the pool did: kept blocks and the rest after a tensor are
// out of bounds, too.
#if defined(__SANITIZE_ADDRESS__)
void allow_access(void* data, size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(data, bytes); }
void forbid_access(void* data, size_t bytes) { ASAN_POISON_MEMORY_REGION(data, bytes); }
#else
void allow_access(void*, size_t) {}
void forbid_access(void*, size_t) {}
#endif

constexpr size_t kLine = 64, kHugePage = size_t{2} << 20;
// Kept without being asked for: beyond this and half of what is in use, a miss first returns everything to the system.
constexpr size_t kAlwaysKept = size_t{256} << 20;

size_t class_bytes(size_t bytes) {
  const size_t wanted = bytes < kLine ? kLine : bytes;
  const size_t step = std::bit_floor(wanted) / 8 < kLine ? kLine : std::bit_floor(wanted) / 8;
  return (wanted + step - 1) / step * step;
}

class TensorPool final : public c10::Allocator {
 public:
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 3)
  c10::DataPtr allocate(size_t bytes) override { return block(bytes); }
  void copy_data(void* to, const void* from, std::size_t count) const override { std::memcpy(to, from, count); }
#else
  c10::DataPtr allocate(size_t bytes) const override { return block(bytes); }
#endif
  c10::DeleterFnPtr raw_deleter() const override { return &TensorPool::release; }

  TensorPoolCounts counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    counts_.peak_bytes = counts_.live_bytes;
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    return_all();
  }

  // Never destroyed: tensors of static lifetime return their blocks after main.
  static TensorPool& instance() {
    static auto* const pool = new TensorPool;
    return *pool;
  }

 private:
  c10::DataPtr block(size_t bytes) const {
    void* const data = bytes == 0 ? nullptr : take(class_bytes(bytes));
    if (data != nullptr) allow_access(data, bytes);
    return {data, data, &TensorPool::release, c10::Device(c10::DeviceType::CPU)};
  }

  void* take(size_t bytes) const {
    const std::lock_guard lock(mutex_);
    auto& kept = free_[bytes];
    void* data = nullptr;
    if (!kept.empty()) {
      data = kept.back();
      kept.pop_back();
      counts_.kept_bytes -= static_cast<int64_t>(bytes);
    } else {
      if (counts_.kept_bytes > static_cast<int64_t>(kAlwaysKept) + counts_.live_bytes / 2) return_all();
      data = from_system(bytes);
      if (data == nullptr) {
        return_all();
        data = from_system(bytes);
      }
      TORCH_CHECK(data != nullptr, "can't allocate memory: you tried to allocate ", bytes, " bytes");
      sizes_[data] = bytes;
      forbid_access(data, bytes);
      ++counts_.system_allocations;
    }
    counts_.live_bytes += static_cast<int64_t>(bytes);
    counts_.peak_bytes = std::max(counts_.peak_bytes, counts_.live_bytes);
    return data;
  }

  static void* from_system(size_t bytes) {
    const size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
    void* data = nullptr;
    if (posix_memalign(&data, alignment, bytes) != 0) return nullptr;
    if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
    return data;
  }

  static void release(void* data) {
    if (data == nullptr) return;
    auto& pool = instance();
    const std::lock_guard lock(pool.mutex_);
    const size_t bytes = pool.sizes_.at(data);
    forbid_access(data, bytes);
    pool.free_[bytes].push_back(data);
    pool.counts_.live_bytes -= static_cast<int64_t>(bytes);
    pool.counts_.kept_bytes += static_cast<int64_t>(bytes);
  }

  void return_all() const {
    for (auto& [bytes, blocks] : free_) {
      for (void* data : blocks) {
        sizes_.erase(data);
        std::free(data);
      }
      blocks.clear();
    }
    counts_.kept_bytes = 0;
  }

  // `allocate` is const in older versions of torch.
  mutable std::mutex mutex_;
  mutable std::unordered_map<size_t, std::vector<void*>> free_;
  mutable std::unordered_map<void*, size_t> sizes_;
  mutable TensorPoolCounts counts_;
};

}  // namespace

void install_tensor_pool() { c10::SetCPUAllocator(&TensorPool::instance(), /*priority=*/1); }

TensorPoolCounts tensor_pool_counts() { return TensorPool::instance().counts(); }

void tensor_pool_reset_peak() { TensorPool::instance().reset_peak(); }

void tensor_pool_trim() { TensorPool::instance().trim(); }

}  // namespace lt2
