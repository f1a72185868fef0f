// The parallel loop, on a quiet machine and on a busy one.
//
// Each calling thread has a crew of its own. A region is opened, whoever is awake takes ranges, and it is closed: the
// caller waits for those only that took part. So a thread that others have pushed off its core holds nobody up, unless
// it was in the middle of a range.
//
// While all threads run, waiting is a matter of microseconds, and spinning is the fastest way to wait. A thread without
// a core comes back after the time slices of others, milliseconds later, and whoever spins for it burns the core that
// it needs. One question tells the two apart: does the processor time of the thread I wait for go on? If it stands
// still, the one who waits goes to sleep, and the caller works alone for a while, in proportion to what standing still
// has cost. So a busy machine costs what its load costs, and a quiet one pays nothing: no clock is read before a wait
// is unusually long.
#include <fcntl.h>
#include <fmt/format.h>
#include <omp.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "base/threads.h"

namespace lt2::detail {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kSpin = 30us;       // the end of an ordinary region
constexpr auto kWatch = 50us;      // how long a thread's processor time is watched; far below a time slice
constexpr auto kPatience = 3ms;    // a worker that has nothing to do for so long sleeps, although its caller runs
constexpr int kAlone = 32;         // standing still may cost one part in 33: where it costs more, the caller works
                                   // alone until the average is back
constexpr auto kTolerated = 10ms;  // at once, some time slices: the system's own short tasks make no busy machine
constexpr auto kAloneAtMost = 2s;  // a process that was stopped for an hour has not met a busy machine

thread_local bool in_region = false;

struct Region {
  int64_t count, grain;
  int threads;
  Body body;
  void* context;
  std::atomic<int64_t> next{0};
  std::atomic_flag failed = ATOMIC_FLAG_INIT;
  std::exception_ptr error;  // of the first that failed

  void take_ranges() {
    in_region = true;
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
    in_region = false;
  }
};

/// Spins for `time`, or until `ready` holds; whether it does.
template <class Ready>
bool spin(Clock::duration time, Ready&& ready) {
  const auto begin = Clock::now();
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (Clock::now() - begin < time);
  return false;
}

/// A thread seen from another one.
class Watched {
 public:
  explicit Watched(pthread_t thread) { known_ = pthread_getcpuclockid(thread, &clock_) == 0; }
  /// Time in which a thread ran; of one that is not known the time of day, as if it always did.
  std::chrono::nanoseconds processor_time() const {
    timespec t{};
    clock_gettime(known_ ? clock_ : CLOCK_MONOTONIC, &t);
    return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
  }

 private:
  clockid_t clock_{};
  bool known_;
};

/// Time in which `thread` stood still since this was made.
class StandingStill {
 public:
  explicit StandingStill(const Watched& thread) : thread_(thread) {}
  Clock::duration operator()() const {
    return std::max<Clock::duration>((Clock::now() - begin_) - (thread_.processor_time() - time_), 0ns);
  }

 private:
  const Watched& thread_;
  Clock::time_point begin_ = Clock::now();
  std::chrono::nanoseconds time_ = thread_.processor_time();
};

/// Whether a thread of this process wants to run, as the system says; asked only of one that does not.
bool wants_to_run(pid_t thread) {
  const int file = open(fmt::format("/proc/self/task/{}/stat", thread).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char text[256];
  const auto size = read(file, text, sizeof(text));
  close(file);
  const std::string_view stat(text, size > 0 ? static_cast<size_t>(size) : 0);
  const auto name_end = stat.rfind(')');
  return name_end != stat.npos && stat.substr(name_end).starts_with(") R");
}

/// The threads that work for one caller.
class Crew {
 public:
  ~Crew() {
    quit_ = true;
    gate_.fetch_add(2);
    gate_.notify_all();
    for (auto& worker : workers_) worker->thread.join();
  }

  void run(Region& region) {
    if (works_alone()) return region.body(region.context, 0, region.count);
    while (static_cast<int>(workers_.size()) < region.threads - 1) add_worker();
    region_ = &region;
    const int open = gate_.load(std::memory_order_relaxed) + 1;
    gate_ = open;
    gate_.notify_all();
    region.take_ranges();
    gate_ = open + 1;
    Clock::duration still{};
    for (auto& worker : workers_) still += wait_for(*worker);
    if (still > 0ns) stood_still(still);
  }

 private:
  struct alignas(64) Worker {
    std::atomic<int> busy{0};  // the gate of the region that it may be working for; 0: none
    std::unique_ptr<Watched> watched;
    std::thread thread;
  };

  void add_worker() {
    auto& worker = *workers_.emplace_back(std::make_unique<Worker>());
    const int number = static_cast<int>(workers_.size());
    worker.thread = std::thread([this, &worker, number] { work(worker, number); });
    worker.watched = std::make_unique<Watched>(worker.thread.native_handle());
  }

  // Either the caller sees that the worker is busy, or the worker that the gate is closed: both write first and read
  // then, in one order for all (seq_cst).
  void work(Worker& worker, int number) {
    omp_set_num_threads(1);  // what torch computes in a region stays in this thread
    for (int seen = 0;;) {
      seen = next_region(seen);
      if (quit_) return;
      worker.busy = seen;
      if (gate_ == seen && number < region_->threads) region_->take_ranges();
      worker.busy = 0;
      worker.busy.notify_one();
    }
  }

  /// The gate of an open region other than `seen`, or anything once quit_ is set.
  int next_region(int seen) {
    int gate = 0;
    const auto opened = [&] {
      gate = gate_.load(std::memory_order_acquire);
      return (gate % 2 == 1 && gate != seen) || quit_.load(std::memory_order_relaxed);
    };
    for (auto begin = Clock::now(); !opened();) {
      const StandingStill still(caller_);
      const auto watched = Clock::now();
      if (spin(kWatch, opened)) break;
      const bool runs = 2 * still() < Clock::now() - watched;
      if (runs && Clock::now() - begin < kPatience) continue;
      // Others have the caller's core, perhaps because this thread has the one beside it.
      if (!runs && wants_to_run(caller_id_)) caller_still_.fetch_add(still().count(), std::memory_order_relaxed);
      if (!opened()) gate_.wait(gate);
      begin = Clock::now();
    }
    return gate;
  }

  /// Returns once `worker` is not busy; the time in which it stood still meanwhile.
  static Clock::duration wait_for(Worker& worker) {
    const auto done = [&] { return worker.busy.load() == 0; };
    if (done() || spin(kSpin, done)) return {};
    for (;;) {
      const StandingStill still(*worker.watched);
      const auto begin = Clock::now();
      if (spin(kWatch, done)) return {};
      if (2 * still() < Clock::now() - begin) continue;  // it runs: a long range
      for (int busy; (busy = worker.busy.load()) != 0;) worker.busy.wait(busy);
      return still();
    }
  }

  bool works_alone() {
    if (const auto still = caller_still_.load(std::memory_order_relaxed); still > 0) {
      caller_still_.store(0, std::memory_order_relaxed);
      stood_still(Clock::duration(still));
    }
    if (!alone_) return false;
    alone_ = Clock::now() < alone_until_;
    return alone_;
  }

  void stood_still(Clock::duration time) {
    const auto now = Clock::now();
    lost_ = std::max<Clock::duration>(lost_ - (now - last_) / kAlone, 0ns) + time;
    last_ = now;
    if (lost_ < kTolerated) return;
    alone_ = true;
    alone_until_ = now + std::min<Clock::duration>(kAlone * lost_, kAloneAtMost);
    lost_ = {};
  }

  alignas(64) std::atomic<int> gate_{0};              // odd: open
  alignas(64) std::atomic<int64_t> caller_still_{0};  // told by workers
  std::atomic<bool> quit_{false};
  Region* region_ = nullptr;  // while the gate is open, and while a worker that saw it so is busy
  const Watched caller_{pthread_self()};
  const pid_t caller_id_ = gettid();
  Clock::duration lost_{};  // by standing still, up to last_, beyond what is tolerated
  Clock::time_point last_, alone_until_;
  bool alone_ = false;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

void parallel_ranges(int64_t count, int64_t grain, Body body, void* context) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t ranges = (count + grain - 1) / grain;
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), ranges));
  if (threads <= 1 || in_region) return body(context, 0, count);
  thread_local Crew crew;
  Region region{.count = count, .grain = grain, .threads = threads, .body = body, .context = context};
  crew.run(region);
  if (region.error) std::rethrow_exception(region.error);
}

}  // namespace lt2::detail
