#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
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

void set_num_threads(int count) { thread_count() = std::max(1, count); }

}  // namespace lt2
