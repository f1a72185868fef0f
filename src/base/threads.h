#pragma once
// The one thread pool. Torch and OpenBLAS compute in their caller's thread (ops/runtime.h): two pools that spin at once
// fight over the cores.
#include <cstdint>
#include <type_traits>

namespace lt2 {

/// Cores this process may use: the affinity mask cut by the cgroup's CPU quota.
int allowed_cores();

/// Threads that parallel_for uses. Starts at allowed_cores().
int num_threads();
void set_num_threads(int count);

namespace detail {
using Body = void (*)(void* context, int64_t begin, int64_t end);
void parallel_ranges(int64_t count, int64_t grain, Body body, void* context);
}  // namespace detail

/// Calls body(begin, end) on disjoint ranges that cover [0, count), each a multiple of `grain` long but for the last.
/// Ranges are handed out as threads become free, ever shorter ones, so uneven work balances; a nested call runs in its
/// caller's thread.
/// An exception thrown by a body is rethrown here once all threads are done.
/// On a busy machine a thread that stood still because others had its core is left out for a while, and the others do
/// its work (parallel_ranges.cpp).
template <typename Body>
void parallel_for(int64_t count, int64_t grain, Body&& body) {
  detail::parallel_ranges(
      count, grain,
      [](void* context, int64_t begin, int64_t end) {
        (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace lt2
