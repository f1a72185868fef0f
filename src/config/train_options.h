#pragma once
// Arguments of `train` that are not keys of its configuration.
#include <string>

#include "config/fields.h"

namespace lt2 {

struct TrainOptions {
  std::string config;
  bool dry_run = false;

  bool operator==(const TrainOptions&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("config", config, verbatim_path(), "the configuration, a YAML or JSON file; required");
    visit("dry_run", dry_run, any(), "print parameters, FLOPs, memory and tokens, and stop");
  }
};

}  // namespace lt2
