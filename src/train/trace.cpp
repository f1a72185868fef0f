#include "train/trace.h"

#include <ATen/record_function.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "train/metrics.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

int64_t now_ns() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

/// Small numbers in the order in which threads first appear.
int this_thread() {
  static std::atomic<int> count{0};
  thread_local const int number = count++;
  return number;
}

/// Chrome counts in microseconds; three decimals keep the nanoseconds.
std::string microseconds(int64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

struct Trace::Record {
  struct Span {
    std::string name;
    const char* category;
    int64_t begin, end;
    int thread;
  };
  struct Memory {
    int64_t at;
    double gib;
  };
  // An operation under way; torch keeps it between the two callbacks.
  struct Operation : at::ObserverContext {
    int64_t begin = now_ns();
  };

  static std::unique_ptr<at::ObserverContext> begin_operation(const at::RecordFunction&) {
    return std::make_unique<Operation>();
  }
  static void end_operation(const at::RecordFunction& function, at::ObserverContext* context) {
    const int64_t end = now_ns();
    const std::lock_guard guard(watching_mutex);
    if (watching == nullptr || context == nullptr) return;
    const char* category = function.scope() == at::RecordScope::BACKWARD_FUNCTION ? "autograd" : "torch";
    watching->add({function.name(), category, static_cast<Operation*>(context)->begin, end, this_thread()});
  }

  void add(Span span) {
    const std::lock_guard guard(mutex);
    if (spans.size() < kMostSpans) {
      spans.push_back(std::move(span));
    } else {
      ++left_out;
    }
  }

  int rank = 0, thread = this_thread();
  std::mutex mutex;
  std::vector<Span> spans;
  std::vector<Span> open;  // steps and phases that have not ended
  std::vector<Memory> memory;
  int64_t left_out = 0;
  at::CallbackHandle handle = 0;

  // Callbacks are plain functions: this is the trace that they write to.
  static inline std::mutex watching_mutex;
  static inline Record* watching = nullptr;
};

Trace::Trace(int rank) : record_(std::make_unique<Record>()) { record_->rank = rank; }

Trace::~Trace() { stop_operations(); }

void Trace::begin(const std::string& name, const char* category) {
  record_->open.push_back({name, category, now_ns(), 0, this_thread()});
}

void Trace::end() {
  LT2_CHECK(!record_->open.empty(), "trace: end() without begin()");
  auto span = std::move(record_->open.back());
  record_->open.pop_back();
  span.end = now_ns();
  const std::lock_guard guard(record_->mutex);
  record_->spans.push_back(std::move(span));  // these few are never left out
}

void Trace::sample_memory() { record_->memory.push_back({now_ns(), resident_gib()}); }

void Trace::watch_operations() {
  {
    const std::lock_guard guard(Record::watching_mutex);
    LT2_CHECK(Record::watching == nullptr, "trace: another trace of this process watches torch's operations");
    Record::watching = record_.get();
  }
  record_->handle = at::addGlobalCallback(
      at::RecordFunctionCallback(&Record::begin_operation, &Record::end_operation)
          .needsInputs(false)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION, at::RecordScope::USER_SCOPE}));
}

void Trace::stop_operations() {
  {
    const std::lock_guard guard(Record::watching_mutex);
    if (Record::watching != record_.get()) return;
    Record::watching = nullptr;
  }
  at::removeCallback(record_->handle);
}

void Trace::write(const fs::path& path) {
  const std::lock_guard guard(record_->mutex);
  const int rank = record_->rank;
  AtomicFile file(path);
  // Every event ends with a comma but the last, which is always there.
  std::string out = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  const auto flush = [&] {
    file.write(out.data(), out.size());
    out.clear();
  };
  const auto put = [&](const Record::Span& span) {
    out += fmt::format(R"({{"name":{},"cat":"{}","ph":"X","ts":{},"dur":{},"pid":{},"tid":{}}},)", quoted(span.name),
                       span.category, microseconds(span.begin),
                       microseconds(std::max<int64_t>(span.end - span.begin, 0)), rank, span.thread);
    out += '\n';
    if (out.size() > (1u << 20)) flush();
  };
  for (auto span : record_->open) {
    span.end = now_ns();
    put(span);
  }
  for (const auto& span : record_->spans) put(span);
  for (const auto& at : record_->memory) {
    out += fmt::format(R"({{"name":"resident memory","ph":"C","ts":{},"pid":{},"args":{{"GiB":{:.4f}}}}},)",
                       microseconds(at.at), rank, at.gib);
    out += '\n';
  }
  out += fmt::format(R"({{"name":"thread_name","ph":"M","pid":{},"tid":{},"args":{{"name":"training"}}}},)", rank,
                     record_->thread);
  out += fmt::format("\n{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":{0},\"args\":{{\"name\":\"rank {0}\"}}}}\n]",
                     rank);
  out += fmt::format(",\"otherData\":{{\"operations_left_out\":{}}}}}\n", record_->left_out);
  flush();
  file.commit();
}

StepTracer::StepTracer(fs::path folder, int rank, int64_t first, int64_t steps)
    : folder_(std::move(folder)), rank_(rank), first_(first), end_(first + steps) {}

StepTracer::~StepTracer() {
  try {
    finish();
  } catch (const std::exception& error) {
    log_warning("{}; the trace of the last steps is lost", error.what());
  }
}

void StepTracer::begin_step(int64_t step) {
  if (trace_ != nullptr) {
    phase("");
    trace_->end();
    if (step >= end_) finish();
  }
  if (step < first_ || step >= end_) return;
  if (trace_ == nullptr) {
    make_folders(folder_, "profiling.trace_folder");
    trace_ = std::make_unique<Trace>(rank_);
    trace_->watch_operations();
    traced_from_ = step;
  }
  trace_->begin(fmt::format("step {}", step + 1), "step");
  trace_->sample_memory();
}

void StepTracer::phase(const char* name) {
  if (trace_ == nullptr) return;
  if (in_phase_) trace_->end();
  in_phase_ = *name != '\0';
  if (in_phase_) trace_->begin(name, "phase");
  trace_->sample_memory();
}

void StepTracer::finish() {
  if (trace_ == nullptr) return;
  const auto trace = std::move(trace_);
  in_phase_ = false;
  trace->stop_operations();
  const auto path = folder_ / fmt::format("trace_{}_{}.json", rank_, traced_from_);
  trace->write(path);
  log_info("trace of {} written to {}", traced_from_ + 1 == end_ ? "a step" : "some steps", path.string());
}

}  // namespace lt2
