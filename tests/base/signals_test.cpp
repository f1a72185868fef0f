#include "base/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace lt2 {
namespace {

// In a child, so that the test program's own handlers stay. Gives its wait status.
int status_of(void (*act)()) {
  const pid_t child = ::fork();
  if (child == 0) {
    catch_stop_signals();
    act();
    ::_exit(stop_signal());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

int exit_code(void (*act)()) {
  const int status = status_of(act);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(Signals, AreRemembered) {
  EXPECT_EQ(exit_code([] {}), 0);
  EXPECT_EQ(exit_code([] { ::raise(SIGINT); }), SIGINT);
  EXPECT_EQ(exit_code([] { ::raise(SIGTERM); }), SIGTERM);
  EXPECT_EQ(exit_code([] { ::raise(SIGUSR2); }), SIGUSR2);
}

TEST(Signals, TheFirstCounts) {
  EXPECT_EQ(exit_code([] {
              ::raise(SIGUSR2);
              ::raise(SIGTERM);
            }),
            SIGUSR2);
}

TEST(Signals, SecondInterruptEndsTheProcess) {
  EXPECT_EQ(exit_code([] {
              ::raise(SIGINT);
              ::raise(SIGINT);
            }),
            -SIGINT);
}

TEST(Signals, CanBeForgotten) {
  EXPECT_EQ(exit_code([] {
              ::raise(SIGINT);
              clear_stop_signal();
              if (stop_signal() != 0) ::_exit(99);
              ::raise(SIGINT);
            }),
            SIGINT);
}

}  // namespace
}  // namespace lt2
