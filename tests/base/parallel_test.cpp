#include <gtest/gtest.h>
#include <pthread.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/threads.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Two threads, whatever the machine has.
class ParallelTest : public ::testing::Test {
 protected:
  ParallelTest() { set_num_threads(2); }
  ~ParallelTest() override { set_num_threads(before_); }
  const int before_ = num_threads();
};

void work_for(Clock::duration time) {
  const auto begin = Clock::now();
  while (Clock::now() - begin < time) {
  }
}

/// The threads that took part in one region of short ranges.
std::set<std::thread::id> threads_of_a_region() {
  std::mutex mutex;
  std::set<std::thread::id> seen;
  parallel_for(16, 1, [&](int64_t, int64_t) {
    work_for(20us);
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  return seen;
}

bool second_thread_helps(Clock::duration within) {
  const auto begin = Clock::now();
  do {
    if (threads_of_a_region().size() > 1) return true;
  } while (Clock::now() - begin < within);
  return false;
}

/// One region of two ranges; the second thread's calls `second`. Tries until two threads take part.
template <typename Second>
void two_threads(Second&& second) {
  const auto caller = std::this_thread::get_id();
  for (std::atomic<bool> both{false}; !both;) {
    ASSERT_TRUE(second_thread_helps(20s));
    std::atomic<bool> second_came{false};
    parallel_for(2, 1, [&](int64_t begin, int64_t end) {
      if (end - begin == 2) return;  // alone: a real stall came between
      both = true;
      if (std::this_thread::get_id() != caller) {
        second_came = true;
        second();
      }
      while (!second_came) std::this_thread::yield();
    });
  }
}

/// The second thread stands still as if others had its core: asleep, its clock does not go on.
void region_with_a_stall(std::chrono::milliseconds time) {
  two_threads([&] { std::this_thread::sleep_for(time); });
}

double processor_seconds_of(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

TEST_F(ParallelTest, CoversEveryIndexOnceInMultiplesOfTheGrain) {
  for (const int64_t count : {0, 1, 2, 3, 7, 64, 1001}) {
    for (const int64_t grain : {0, 1, 2, 5, 64, 2000}) {
      std::vector<std::atomic<int>> hits(count);
      parallel_for(count, grain, [&](int64_t begin, int64_t end) {
        EXPECT_LT(begin, end);
        EXPECT_EQ(begin % std::max<int64_t>(grain, 1), 0);
        for (int64_t i = begin; i < end; ++i) ++hits[i];
      });
      for (const auto& n : hits) EXPECT_EQ(n, 1) << count << " by " << grain;
    }
  }
}

TEST_F(ParallelTest, NestedRegionsRunInTheirCallersThread) {
  std::atomic<int> inner{0};
  parallel_for(8, 1, [&](int64_t begin, int64_t end) {
    const auto caller = std::this_thread::get_id();
    for (int64_t i = begin; i < end; ++i) {
      parallel_for(4, 1, [&](int64_t b, int64_t e) {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        inner += static_cast<int>(e - b);
      });
    }
  });
  EXPECT_EQ(inner, 32);
}

TEST_F(ParallelTest, AnErrorIsRethrownOnceAllAreDone) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    EXPECT_THROW(parallel_for(64, 1,
                              [&](int64_t begin, int64_t) {
                                if (begin % 3 == 0) throw std::runtime_error("range");
                              }),
                 std::runtime_error);
  }
  EXPECT_TRUE(second_thread_helps(10s));
}

// On a busy machine the second thread of each region comes late by a time slice. Waiting for it in every region is
// what made two threads fifty times slower than one.
TEST_F(ParallelTest, AfterAStallTheCallerWorksAloneForAWhileAndThenNoMore) {
  region_with_a_stall(30ms);
  const auto stalled = Clock::now();
  int alone = 0;
  while (Clock::now() - stalled < 200ms) {
    ASSERT_EQ(threads_of_a_region().size(), 1u) << "after " << alone << " regions";
    ++alone;
  }
  EXPECT_GT(alone, 0);
  EXPECT_TRUE(second_thread_helps(20s)) << "the caller never came back to two threads";
}

// One of three that others keep off its core costs its own work, not that of all.
TEST_F(ParallelTest, AThreadThatStandsStillIsLeftOutAloneForAWhile) {
  set_num_threads(3);
  const auto caller = std::this_thread::get_id();
  std::thread::id stalled;
  for (const auto begin = Clock::now(); stalled == std::thread::id();) {
    ASSERT_LT(Clock::now() - begin, 60s) << "never three threads";
    std::mutex mutex;
    std::set<std::thread::id> seen;
    parallel_for(3, 1, [&](int64_t first, int64_t last) {
      if (last - first > 1) return;
      for (const auto start = Clock::now(); Clock::now() - start < 20ms;) {
        const std::lock_guard lock(mutex);
        seen.insert(std::this_thread::get_id());
        if (seen.size() == 3) break;
      }
      if (std::this_thread::get_id() == caller) return;
      std::unique_lock lock(mutex);
      if (seen.size() < 3 || stalled != std::thread::id()) return;
      stalled = std::this_thread::get_id();
      lock.unlock();
      std::this_thread::sleep_for(40ms);
    });
  }
  bool two = false;
  for (const auto begin = Clock::now(); Clock::now() - begin < 200ms;) {
    const auto seen = threads_of_a_region();
    EXPECT_FALSE(seen.contains(stalled));
    two = two || seen.size() == 2;
  }
  EXPECT_TRUE(two) << "the others were sent away, too";
  bool back = false;
  for (const auto begin = Clock::now(); !back && Clock::now() - begin < 20s;) back = threads_of_a_region().size() == 3;
  EXPECT_TRUE(back) << "it never came back";
}

TEST_F(ParallelTest, WhoWaitsForAThreadThatDoesNotRunLeavesItsCore) {
  ASSERT_TRUE(second_thread_helps(10s));
  clockid_t caller_clock{};
  ASSERT_EQ(pthread_getcpuclockid(pthread_self(), &caller_clock), 0);
  two_threads([&] {
    const double before = processor_seconds_of(caller_clock);
    std::this_thread::sleep_for(100ms);
    EXPECT_LT(processor_seconds_of(caller_clock) - before, 0.05);
  });
  EXPECT_TRUE(second_thread_helps(30s));
}

// A long range is no stall: its thread's clock goes on.
TEST_F(ParallelTest, ALongRangeOfAThreadThatRunsIsNoStall) {
  // Others may really have pushed it off its core meanwhile, so one try of several must do.
  bool fine = false;
  for (int attempt = 0; attempt < 100 && !fine; ++attempt) {
    two_threads([] { work_for(3ms); });
    fine = second_thread_helps(5ms);
  }
  EXPECT_TRUE(fine);
}

// Teams of different sizes and callers with pools of their own: sizes that change between regions.
TEST_F(ParallelTest, TeamsChangeTheirSizeAndCallersDoNotShareTheirs) {
  const auto many = [] {
    for (int repeat = 0; repeat < 200; ++repeat) {
      for (const int64_t count : {1, 2, 3, 5}) {
        std::atomic<int64_t> sum{0};
        parallel_for(count, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
        ASSERT_EQ(sum, count);
      }
    }
  };
  set_num_threads(3);
  std::thread other(many);
  many();
  other.join();
}

}  // namespace
}  // namespace lt2
