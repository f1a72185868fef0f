// The parallel loop, on a quiet machine and on a busy one.
//
// While all threads run, waiting for the last one is a matter of microseconds, and spinning is the fastest way to wait.
// A thread that others have pushed off its core comes back after their time slices, milliseconds later, and whoever
// spins for it burns the core that it needs. One question tells the two apart: does the processor time of the thread I
// wait for go on? If it stands still, the caller hands its core over (it sleeps until that thread is done), and then
// works alone for a while, in proportion to what the wait has cost. So a busy machine costs what its load costs, and a
// quiet one pays nothing: no clock is read before a wait is unusually long.
#include <omp.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <limits>
#include <memory>

#include "base/threads.h"

namespace lt2::detail {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kSpin = 30us;       // the end of an ordinary region
constexpr auto kWatch = 50us;      // how long a thread's processor time is watched; far below a time slice
constexpr auto kWakeUp = 700us;    // waking a sleeping thread takes up to a few hundred: no sign of a busy machine
constexpr int kAlone = 32;         // after a stall of s the caller works alone for 32 s: stalls cost one part in 33
constexpr auto kAloneAtMost = 2s;  // a process that was stopped for an hour has not met a busy machine

/// One thread of a region beside the caller.
struct alignas(64) Worker {
  std::atomic<int> finished{0};  // number of the last region that it is done with
  std::atomic<bool> known{false};
  pthread_t thread{};  // set before `known`, by itself
  clockid_t clock{};   // of its processor time; likewise

  /// Called by the thread itself: OpenMP may give a number to another thread when teams change their size.
  void introduce() {
    if (known.load(std::memory_order_relaxed) && pthread_equal(thread, pthread_self())) return;
    thread = pthread_self();
    known.store(pthread_getcpuclockid(thread, &clock) == 0, std::memory_order_release);
  }
  bool done(int region) const { return finished.load(std::memory_order_acquire) == region; }
  std::chrono::nanoseconds processor_time() const {
    timespec t{};
    clock_gettime(known.load(std::memory_order_acquire) ? clock : CLOCK_MONOTONIC, &t);  // not known: as if it ran
    return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
  }
};

/// What a calling thread knows of those that work for it: OpenMP keeps a pool for each caller.
struct Crew {
  std::unique_ptr<Worker[]> workers;  // by thread number, [0] is the caller and unused
  int size = 0;
  int region = 0;  // number of the latest region
  bool alone = false;
  Clock::time_point alone_until;

  void begin(int threads) {
    if (threads > size) {
      workers = std::make_unique<Worker[]>(threads);
      size = threads;
    }
    // Never 0, which a new Worker says it has finished.
    region = region == std::numeric_limits<int>::max() ? 1 : region + 1;
  }
};

/// Whether the caller still works alone. Torch's regions follow, through OpenMP's count for this thread.
bool works_alone(Crew& crew) {
  if (!crew.alone) return false;
  if (Clock::now() < crew.alone_until) return true;
  crew.alone = false;
  omp_set_num_threads(num_threads());
  return false;
}

void work_alone(Crew& crew, Clock::duration time) {
  crew.alone = true;
  crew.alone_until = Clock::now() + time;
  omp_set_num_threads(1);
}

/// Spins until `worker` is done, at most for `time`.
bool spin(const Worker& worker, int region, Clock::time_point begin, Clock::duration time) {
  do {
    for (int i = 0; i < 32; ++i) {
      if (worker.done(region)) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (Clock::now() - begin < time);
  return false;
}

/// Returns once `worker` is done; the time in which it was not running while the caller waited.
Clock::duration wait_for(const Worker& worker, int region) {
  if (worker.done(region)) return {};
  auto begin = Clock::now();
  if (spin(worker, region, begin, kSpin)) return {};
  for (;;) {
    begin = Clock::now();
    const auto time = worker.processor_time();
    if (spin(worker, region, begin, kWatch)) return {};
    if (2 * (worker.processor_time() - time) > Clock::now() - begin) continue;  // it runs: a long range
    for (int seen; (seen = worker.finished.load(std::memory_order_acquire)) != region;) worker.finished.wait(seen);
    return (Clock::now() - begin) - (worker.processor_time() - time);
  }
}

}  // namespace

void parallel_ranges(int64_t count, int64_t grain, Body body, void* context) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t ranges = (count + grain - 1) / grain;
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), ranges));
  if (threads <= 1 || omp_in_parallel()) return body(context, 0, count);
  thread_local Crew own;
  Crew& crew = own;  // the caller's, in all threads of the region
  if (works_alone(crew)) return body(context, 0, count);

  crew.begin(threads);
  const int region = crew.region;
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::atomic_flag failed = ATOMIC_FLAG_INIT;
  Clock::duration stall{};
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
    const int number = omp_get_thread_num(), team = omp_get_num_threads();
    if (number == 0) {
      for (int i = 1; i < team; ++i) stall += wait_for(crew.workers[i], region);
    } else {
      auto& worker = crew.workers[number];
      worker.introduce();
      worker.finished.store(region, std::memory_order_release);
      worker.finished.notify_one();
    }
  }
  if (stall > kWakeUp) work_alone(crew, std::min<Clock::duration>(kAlone * stall, kAloneAtMost));
  if (error) std::rethrow_exception(error);
}

}  // namespace lt2::detail
