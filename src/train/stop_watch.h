#pragma once
// Whether a run must end before its last step because of a signal or a file that failed.
#include <exception>
#include <functional>
#include <memory>

#include "distributed/group.h"

namespace lt2 {

class StopWatch {
 public:
  explicit StopWatch(std::shared_ptr<Group> group);

  /// What tells this rank to stop; the default is stop_signal().
  void stop_when(std::function<bool()> wanted) { wanted_ = std::move(wanted); }
  /// Whether this rank is told to stop now.
  bool wanted() const { return wanted_(); }

  /// Calls `use_files`. An error of a file must not lose the steps since the last checkpoint, so it is kept until they
  /// are saved. False: it failed.
  bool guard(const std::function<void()>& use_files);
  /// Throws the first error kept.
  void rethrow_failure() const;

  /// Whether a stop is wanted or a file failed: on this rank or, with `together`, on any rank; that is an exchange, and
  /// all ranks get the same answer.
  bool stopped(bool together) const;

 private:
  std::shared_ptr<Group> group_;
  std::function<bool()> wanted_;
  std::exception_ptr failure_;
};

}  // namespace lt2
