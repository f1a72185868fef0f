#pragma once
// Arguments of `inspect` and of `inspect machine`.
#include <string>

#include "config/fields.h"

namespace lt2 {

struct InspectConfig {
  std::string ckpt, config;

  bool operator==(const InspectConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("ckpt", ckpt, verbatim_path(), "checkpoint or model folder");
    visit("config", config, verbatim_path(), "training configuration; key.sub=value changes it");
  }
};

struct InspectMachineConfig {
  std::string output;

  bool operator==(const InspectMachineConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("output", output, verbatim_path(), "write the limits as JSON into this file, too");
  }
};

}  // namespace lt2
