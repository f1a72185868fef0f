// The parallel loop, on a quiet machine and on a busy one.
//
// Each calling thread has its own crew. A region is opened, every worker that is awake takes ranges, and it is closed:
// the caller waits only for the workers that took part. So a thread that others have pushed off its core holds nobody
// up, unless it was in the middle of a range.
//
// While all threads run, waiting is a matter of microseconds, and spinning is the fastest way to wait. A thread without
// a core comes back after the time slices of others, milliseconds later, and whoever spins for it burns the core that
// it needs. One question tells the two apart: does the processor time of the thread I wait for go on? If it stands
// still, the one who waits goes to sleep. A worker that holds the others up for more than it helps is left out for a
// while, in proportion to what its standing still has cost. So a busy machine costs what its load costs, and a quiet
// one pays nothing: no clock is read before a wait is unusually long.
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
#include <system_error>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/threads.h"

namespace lt2::detail {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kSpin = 30us;         // the end of an ordinary region
constexpr auto kWatch = 50us;        // how long a thread's processor time is watched; far below a time slice
constexpr auto kPatience = 3ms;      // a worker that has nothing to do for so long sleeps, although its caller runs
constexpr auto kTolerated = 10ms;    // of standing still at once, some time slices: the system's own short tasks
constexpr int kLeftOut = 32;         // times what standing still has cost: trying again costs one part in 33
constexpr auto kLeftOutAtMost = 2s;  // a process that was stopped for an hour has not met a busy machine

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
  /// Time in which a thread ran; for an unknown thread the time of day, as if it always ran.
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
    for (auto& worker : workers_) let_in(*worker);
    gate_.fetch_add(2);
    gate_.notify_all();
    for (auto& worker : workers_) worker->thread.join();
  }

  void run(Region& region) {
    region.threads = call_workers(region.threads - 1) + 1;
    if (region.threads == 1) return region.body(region.context, 0, region.count);
    region_ = &region;
    const Gate open = gate_.load(std::memory_order_relaxed) + 1;
    gate_ = open;
    gate_.notify_all();
    region.take_ranges();
    gate_ = open + 1;
    for (auto& worker : workers_) {
      if (const auto still = wait_for(*worker); still > 0ns) stood_still(*worker, still, region.threads);
    }
  }

 private:
  using Gate = uint32_t;  // wraps: a busy server opens 2^32 in days

  struct alignas(64) Worker {
    std::atomic<Gate> busy{0};             // the gate of the region that it may be working for; 0: none
    std::atomic<int64_t> caller_still{0};  // what it saw the caller stand still
    std::atomic<bool> left_out{false};     // sleeps until it is let in again
    bool called = false;                   // for the region that is open
    Clock::duration lost{};                // to others by its standing still, up to `last`, beyond what it is worth
    Clock::time_point last, until;         // until: of being left out
    std::unique_ptr<Watched> watched;
    std::thread thread;
  };

  /// Chooses the workers of the next region, at most `wanted`. Returns their number.
  int call_workers(int wanted) {
    while (static_cast<int>(workers_.size()) < wanted && add_worker()) continue;
    int called = 0;
    for (auto& worker : workers_) {
      if (const auto still = worker->caller_still.load(std::memory_order_relaxed); still > 0) {
        worker->caller_still.store(0, std::memory_order_relaxed);
        stood_still(*worker, Clock::duration(still) / wanted, wanted + 1);  // each of them may have seen it
      }
      if (worker->left_out.load(std::memory_order_relaxed) && Clock::now() >= worker->until) let_in(*worker);
      worker->called = called < wanted && !worker->left_out.load(std::memory_order_relaxed);
      called += worker->called ? 1 : 0;
    }
    return called;
  }

  /// False: the system gives no more threads.
  bool add_worker() {
    if (full_) return false;
    auto worker = std::make_unique<Worker>();
    try {
      worker->thread = std::thread([this, of = worker.get()] { work(*of); });
    } catch (const std::system_error& error) {
      full_ = true;
      log_warning("{} of {} threads: {}", workers_.size() + 1, num_threads(), error.what());
      return false;
    }
    worker->watched = std::make_unique<Watched>(worker->thread.native_handle());
    workers_.push_back(std::move(worker));
    return true;
  }

  static void let_in(Worker& worker) {
    worker.left_out = false;
    worker.left_out.notify_one();
  }

  // Either the caller sees that the worker is busy, or the worker that the gate is closed: both write first and read
  // then, in one order for all (seq_cst).
  void work(Worker& worker) {
    omp_set_num_threads(1);  // what torch computes in a region stays in this thread
    for (Gate seen = 0;;) {
      worker.left_out.wait(true);
      seen = next_region(worker, seen);
      if (quit_) return;
      worker.busy = seen;
      if (gate_ == seen && worker.called) region_->take_ranges();
      worker.busy = 0;
      worker.busy.notify_one();
    }
  }

  /// The gate of an open region other than `seen`, or anything once quit_ is set.
  Gate next_region(Worker& worker, Gate seen) {
    Gate gate = 0;
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
      // Others have the caller's core, perhaps because this thread has the core next to it.
      if (!runs && wants_to_run(caller_id_)) worker.caller_still.fetch_add(still().count(), std::memory_order_relaxed);
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
      for (Gate busy; (busy = worker.busy.load()) != 0;) worker.busy.wait(busy);
      return still();
    }
  }

  // A worker of n threads does one part in n of the work. One whose standing still costs half of that is worth its
  // place.
  static void stood_still(Worker& worker, Clock::duration time, int threads) {
    const auto now = Clock::now();
    worker.lost = std::max<Clock::duration>(worker.lost - (now - worker.last) / (2 * threads), 0ns) + time;
    worker.last = now;
    if (worker.lost < kTolerated) return;
    worker.left_out = true;
    worker.until = now + std::min<Clock::duration>(kLeftOut * worker.lost, kLeftOutAtMost);
    worker.lost = {};
  }

  // Odd: open. It starts shortly before it wraps, so that every program passes there.
  alignas(64) std::atomic<Gate> gate_{static_cast<Gate>(-64)};
  std::atomic<bool> quit_{false};
  Region* region_ = nullptr;  // while the gate is open, and while a worker that saw it so is busy
  const Watched caller_{pthread_self()};
  const pid_t caller_id_ = gettid();
  bool full_ = false;
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
