#pragma once
// The output of `lt2 bench`: the table, JSON lines and the figure.
#include <optional>
#include <string>

#include "base/append_file.h"
#include "measure/frontier.h"
#include "measure/grid.h"
#include "measure/speed.h"

namespace lt2 {

class BenchOutput {
 public:
  /// `lines`: a file that gets one JSON line a row appended; `figure`: an HTML file; empty: none. Throws lt2::Error if
  /// a file cannot be written.
  BenchOutput(const std::string& lines, std::string figure);

  static void print_machine(const MachineLimits& limits);
  static void print_header();
  static void print_frontier_header();
  void operator()(const SpeedRow& row);
  void operator()(const SkippedRow& row);
  void operator()(const FrontierRow& row);
  /// The machine before and after the rows; warns if they differ.
  void machine(const MachineLimits& begin, const MachineLimits& end);
  void draw(const MachineLimits& limits) const;

 private:
  void keep(const std::string& line);

  std::string figure_;
  std::optional<AppendFile> file_;
  std::string lines_;
};

}  // namespace lt2
