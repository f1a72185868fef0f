#pragma once
// A Chrome trace of some steps: open the file in chrome://tracing or ui.perfetto.dev.
//
// Steps and the phases in them (data, forward, ...) are spans of the thread that trains. The trace also holds the torch
// operations and autograd functions of every thread and a curve of the resident memory. Files of several ranks share
// one clock and can be shown together. On a GPU a span is the time to launch, not to compute.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace lt2 {

/// Keeps spans in memory. Only one trace of the process at a time may record torch's operations.
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
  /// Records torch's operations from now until stop_operations() or the end of the trace. Beyond kMostSpans spans
  /// operations are counted, not kept.
  void watch_operations();
  void stop_operations();
  static constexpr size_t kMostSpans = 1'000'000;

  /// Writes the trace so far; open spans end now. The file is written under another name and renamed.
  void write(const std::filesystem::path& path);

 private:
  struct Record;
  std::unique_ptr<Record> record_;
};

/// Traces `steps` steps of a run from step `first` on and writes FOLDER/trace_RANK_STEP.json; STEP is the first traced
/// step. Outside these steps every call returns at once.
class StepTracer {
 public:
  StepTracer() = default;  // traces nothing
  StepTracer(std::filesystem::path folder, int rank, int64_t first, int64_t steps);
  StepTracer(StepTracer&&) = default;
  StepTracer& operator=(StepTracer&&) = default;
  ~StepTracer();  // writes the trace so far if finish() was not called; failures go to the log

  /// Step `step` (from 0) begins, and the one before ends.
  void begin_step(int64_t step);
  /// Names the phase that begins; "" for none.
  void phase(const char* name);
  /// The run ends: writes the file if a traced step is still open.
  void finish();

 private:
  std::filesystem::path folder_;
  int rank_ = 0;
  int64_t first_ = 0, end_ = 0, traced_from_ = -1;
  bool in_phase_ = false;
  std::unique_ptr<Trace> trace_;
};

}  // namespace lt2
