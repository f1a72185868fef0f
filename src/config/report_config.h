#pragma once
// Arguments of `report`, besides the run's folder.
#include <cstdint>
#include <string>

#include "config/fields.h"

namespace lt2 {

struct ReportConfig {
  std::string output;
  bool live = false;
  int64_t port = 8123;

  bool operator==(const ReportConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("output", output, verbatim_path(), "the page; empty: report.html in the folder");
    visit("live", live, any(), "serve the page of a running run at http://127.0.0.1:PORT/");
    visit("port", port, within(0, 65535), "with live; 0: any free one");
  }
};

}  // namespace lt2
