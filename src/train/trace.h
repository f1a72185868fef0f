#pragma once
// Where the time of some steps goes, as a Chrome trace: open the file in chrome://tracing or ui.perfetto.dev.
//
// Steps, and in them phases (data, forward, ...), are spans of the thread that trains; under them lie the torch
// operations and autograd functions of every thread, and beside them a curve of the resident memory. Files of several
// ranks share one clock and can be shown together. On a GPU a span is the time to launch, not to compute.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace lt2 {

/// Span by span in memory; of the process only one at a time may watch torch.
class Trace {
 public:
  explicit Trace(int rank);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  /// A span of the calling thread, to be ended in reverse order; `category` must outlive the trace.
  void begin(const std::string& name, const char* category);
  void end();
  /// The resident memory now.
  void sample_memory();
  /// From now until stop_operations() or the end of the trace torch's operations are recorded. Beyond kMostSpans spans
  /// operations are counted, not kept.
  void watch_operations();
  void stop_operations();
  static constexpr size_t kMostSpans = 1'000'000;

  /// The trace so far; spans under way end now. Written aside and renamed.
  void write(const std::filesystem::path& path);

 private:
  struct Record;
  std::unique_ptr<Record> record_;
};

/// Traces `steps` steps from step `first` on of a run and writes FOLDER/trace_RANK_STEP.json, STEP the first one
/// traced. Outside of them every call returns at once.
class StepTracer {
 public:
  StepTracer() = default;  // traces nothing
  StepTracer(std::filesystem::path folder, int rank, int64_t first, int64_t steps);
  StepTracer(StepTracer&&) = default;
  StepTracer& operator=(StepTracer&&) = default;
  ~StepTracer();  // writes what there is if finish() was not called; failures go to the log

  /// Step `step` (from 0) begins, and with it ends the one before.
  void begin_step(int64_t step);
  /// What the step does from now on; "" for nothing in particular.
  void phase(const char* name);
  /// The run ends: writes the file if steps were traced that no begin_step() has closed.
  void finish();

 private:
  std::filesystem::path folder_;
  int rank_ = 0;
  int64_t first_ = 0, end_ = 0, traced_from_ = -1;
  bool in_phase_ = false;
  std::unique_ptr<Trace> trace_;
};

}  // namespace lt2
