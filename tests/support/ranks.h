#pragma once
// Several ranks as threads of the test program, meeting in a store of memory.
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include <omp.h>

#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "base/torch.h"
#include "distributed/group.h"

namespace lt2::test {

/// Runs act(group) on `world` ranks; rethrows what the first of them threw.
inline void on_ranks(int world, const std::function<void(std::shared_ptr<Group>)>& act, double timeout_s = 60) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::exception_ptr> errors(static_cast<size_t>(world));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        omp_set_num_threads(1);  // of this thread; torch's own loops
        const ProcessLayout layout{.rank = rank, .world = world, .job = {}};
        act(std::make_shared<Group>(store, layout, torch::kCPU, timeout_s));
      } catch (...) {
        errors[static_cast<size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace lt2::test
