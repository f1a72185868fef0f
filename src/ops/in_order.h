#pragma once
// Plain torch on several threads with the same bits for any number of them. torch splits a sum, and BLAS a product, by
// the number of threads it has; in one thread both have one order.
#include <omp.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/threads.h"
#include "base/torch.h"

namespace lt2 {

/// While it lives, what torch computes in this thread stays in this thread.
class OneTorchThread {
 public:
  // torch's first question in a thread sets the number; so it is asked before.
  OneTorchThread() : before_(at::get_num_threads()) { omp_set_num_threads(1); }
  ~OneTorchThread() { omp_set_num_threads(before_); }
  OneTorchThread(const OneTorchThread&) = delete;
  OneTorchThread& operator=(const OneTorchThread&) = delete;

 private:
  int before_;  // OpenMP keeps this number for each thread apart
};

/// make(i) for every i in [0, count), several at a time, each in one thread; take(i, result) in ascending order in the
/// caller's thread. Results of up to 16 live at a time. `device` other than the CPU: one after the other.
template <class Make, class Take>
void in_order(int64_t count, const torch::Device& device, Make&& make, Take&& take) {
  constexpr int64_t kAtOnce = 16;
  const int64_t at_once = device.is_cpu() ? kAtOnce : 1;
  const at::ThreadLocalState of_caller;  // grad mode and the like
  for (int64_t first = 0; first < count; first += at_once) {
    std::vector<std::optional<decltype(make(int64_t{}))>> results(
        static_cast<size_t>(std::min(at_once, count - first)));
    parallel_for(static_cast<int64_t>(results.size()), 1, [&](int64_t begin, int64_t end) {
      const at::ThreadLocalStateGuard as_caller(of_caller);
      const OneTorchThread alone;
      for (int64_t i = begin; i < end; ++i) results[static_cast<size_t>(i)] = make(first + i);
    });
    for (size_t i = 0; i < results.size(); ++i) take(first + static_cast<int64_t>(i), std::move(*results[i]));
  }
}

}  // namespace lt2
