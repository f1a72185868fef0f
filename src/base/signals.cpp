#include "base/signals.h"

#include <signal.h>

#include <atomic>

namespace lt2 {
namespace {

std::atomic<int> caught{0};
std::atomic<bool> interrupted{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "a handler may not lock");

void handle(int number) {
  if (number == SIGINT && interrupted.exchange(true)) {
    // Dies of the signal, so that a shell script around it stops too. Delivered as soon as this handler returns.
    ::signal(SIGINT, SIG_DFL);
    ::raise(SIGINT);
    return;
  }
  int none = 0;
  caught.compare_exchange_strong(none, number);
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;  // pending reads and writes continue
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGINT, SIGTERM, SIGUSR2}) ::sigaction(number, &action, nullptr);
}

void ignore_size_limit_signal() { ::signal(SIGXFSZ, SIG_IGN); }

void leave_signals_to_others() {
  sigset_t left;
  sigemptyset(&left);
  for (const int number : {SIGINT, SIGTERM, SIGUSR2}) sigaddset(&left, number);
  ::pthread_sigmask(SIG_BLOCK, &left, nullptr);
}

int stop_signal() { return caught.load(std::memory_order_relaxed); }

void clear_stop_signal() {
  caught = 0;
  interrupted = false;
}

}  // namespace lt2
