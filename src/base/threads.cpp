#include "base/threads.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <fstream>
#include <string>

namespace lt2 {
namespace {

// cgroup v2 writes "QUOTA PERIOD" or "max PERIOD".
double cgroup_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 1e9;
  return std::stod(quota) / period;
}

int read_allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int by_affinity = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, std::min(by_affinity, static_cast<int>(std::ceil(std::min(cgroup_cores(), 1e6)))));
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{allowed_cores()};
  return count;
}

}  // namespace

int allowed_cores() {
  static const int cores = read_allowed_cores();
  return cores;
}

int num_threads() { return thread_count().load(std::memory_order_relaxed); }

void set_num_threads(int count) {
  thread_count() = std::max(1, count);
  omp_set_num_threads(std::max(1, count));
}

namespace detail {

void parallel_ranges(int64_t count, int64_t grain, Body body, void* context) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t ranges = (count + grain - 1) / grain;
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), ranges));
  if (threads <= 1 || omp_in_parallel()) return body(context, 0, count);
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::atomic_flag failed = ATOMIC_FLAG_INIT;
#pragma omp parallel num_threads(threads)
  {
    for (int64_t begin = next.load(std::memory_order_relaxed); begin < count; begin = next.load()) {
      // Long ranges first and short ones last: few starts, and the threads end together.
      const int64_t size = std::max<int64_t>((count - begin) / (4 * threads) / grain, 1) * grain;
      if (!next.compare_exchange_weak(begin, begin + size, std::memory_order_relaxed)) continue;
      try {
        body(context, begin, std::min(begin + size, count));
      } catch (...) {
        if (!failed.test_and_set()) error = std::current_exception();
        next = count;
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace detail
}  // namespace lt2
