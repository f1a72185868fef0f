#pragma once
#include <string>

namespace lt2 {

/// Thrown by a part of a run when a loss, a gradient or a weight is not finite and the run must end without saving.
/// Trainer turns it into the error that names the step and the last good checkpoint.
struct Diverged {
  std::string what;  // "the loss is not finite (nan)"
};

}  // namespace lt2
