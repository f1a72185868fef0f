#pragma once
#include <string>

#include "base/error.h"

namespace lt2::test {

/// The message of the lt2::Error that `action` throws; empty if it throws none.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace lt2::test
