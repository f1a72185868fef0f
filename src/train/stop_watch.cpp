#include "train/stop_watch.h"

#include "base/error.h"
#include "base/signals.h"

namespace lt2 {

StopWatch::StopWatch(std::shared_ptr<Group> group)
    : group_(std::move(group)), wanted_([] { return stop_signal() != 0; }) {}

bool StopWatch::guard(const std::function<void()>& use_files) {
  try {
    use_files();
    return true;
  } catch (const StoppedBySignal&) {  // nothing went wrong, and the run sees the signal too
  } catch (const Error&) {
    if (!failure_) failure_ = std::current_exception();
  }
  return false;
}

void StopWatch::rethrow_failure() const {
  if (failure_) std::rethrow_exception(failure_);
}

bool StopWatch::stopped(bool together) const {
  const bool here = failure_ || wanted_();
  return together ? group_->sum({here ? 1.0 : 0.0})[0] > 0 : here;
}

}  // namespace lt2
