#pragma once
// SIGINT and SIGTERM as a flag that loops look at between steps, and signals that are errors of system calls instead.
#include "base/error.h"

namespace lt2 {

/// From now on SIGINT, SIGTERM (and SIGUSR2, which SLURM sends before the end) set the flag; a second SIGINT ends the
/// process at once.
void catch_stop_signals();
/// The calling thread takes none of these signals from now on: another one does.
void leave_signals_to_others();
/// The number of the signal caught so far, 0 if none.
int stop_signal();
/// stop_signal() ended what was not done yet: no fault of any file.
class StoppedBySignal : public Error {
  using Error::Error;
};
/// Forget it (tests).
void clear_stop_signal();

/// From now on a write beyond the shell's file size limit fails with EFBIG instead of killing the process (SIGXFSZ).
void ignore_size_limit_signal();

}  // namespace lt2
