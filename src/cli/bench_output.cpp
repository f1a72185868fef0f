#include "cli/bench_output.h"

#include <fmt/format.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/output.h"
#include "base/threads.h"
#include "base/units.h"
#include "report/efficiency.h"

namespace lt2 {
namespace {

std::string name_of(const std::string& shape, const std::string& model) {
  return shape.empty() ? model : shape + " " + model;
}

/// "4.21", "~4.21" where the samples are too far apart or too few.
std::string marked(const Spread& spread, int digits) {
  return fmt::format("{}{:.{}f}", spread.noisy() ? "~" : "", spread.median, digits);
}

void print_row(const SpeedRow& row) {
  const bool train = row.mode == "train";
  const auto& speed = row.tokens_per_s;
  print_out("{:<8} {:<16} {:>8} {:>5} {:>5} {:>11} {:>15} {:>10.1f} {:>5.0f}% {:>9} {:>10} {:>10} {:>7} {:>7}\n",
            row.mode, name_of(row.shape, row.model), row.context, row.batch, row.dtype, marked(speed, 1),
            speed.count == 1 ? "one run" : fmt::format("{:.1f}-{:.1f}", speed.low, speed.high), row.floor_tokens_per_s,
            100 * row.share, train ? "" : fmt::format("{:.3f} s", row.first_token_s),
            train ? "" : human_bytes(row.state_bytes), human_bytes(row.peak_bytes),
            row.predicted_share ? marked(*row.predicted_share, 2) : "",
            row.comparison ? marked(row.comparison->ratio, 2) : "");
  flush_out();
}

void print_skipped(const SkippedRow& row) {
  print_out("{:<8} {:<16} {:>8} {:>5} {:>5} not run: {}\n", row.mode, name_of(row.shape, row.model), row.context,
            row.batch, row.dtype, row.reason);
  flush_out();
}

void print_frontier(const FrontierRow& row) {
  std::string tried = row.not_tried.empty() ? "computed only" : "no: " + row.not_tried;
  if (row.tried) {
    tried = fmt::format("{} tokens, {} of states took {}, token in {:.2f} s{}", row.tried_context,
                        human_bytes(row.tried_states), human_bytes(row.resident_bytes), row.step_s,
                        row.not_tried.empty() ? "" : "; all of it " + row.not_tried);
  }
  print_out("{:<16} {:>5} {:>5} {:>10} {:>12} {:>10} {:>10} {:>12}  {}\n", name_of(row.shape, row.model), row.batch,
            row.dtype, human_bytes(row.memory), row.endless() ? "no end" : std::to_string(row.context),
            human_bytes(row.needs.weights), human_bytes(row.needs.states),
            row.endless() ? "" : std::to_string(row.refused_context), tried);
  flush_out();
}

}  // namespace

BenchOutput::BenchOutput(const std::string& lines, std::string figure) : figure_(std::move(figure)) {
  if (!figure_.empty()) {  // fail now, not after ten minutes
    const AtomicFile probe(figure_);
  }
  try {
    if (!lines.empty()) file_.emplace(lines);
  } catch (const Error& error) {
    throw Error(fmt::format("output: {}", error.what()));
  }
}

void BenchOutput::print_machine(const MachineLimits& limits) {
  print_out("{}, {} threads: {}\n", cpu_info().name, num_threads(), limits.text());
}

void BenchOutput::print_header() {
  print_out("{:<8} {:<16} {:>8} {:>5} {:>5} {:>11} {:>15} {:>10} {:>6} {:>9} {:>10} {:>10} {:>7} {:>7}\n", "mode",
            "model", "context", "batch", "dtype", "tokens/s", "half", "floor", "share", "first", "state", "peak",
            "of 1st", "ratio");
}

void BenchOutput::print_frontier_header() {
  print_out("{:<16} {:>5} {:>5} {:>10} {:>12} {:>10} {:>10} {:>12}  {}\n", "model", "batch", "dtype", "memory",
            "context", "weights", "states", "refused", "tried here");
}

void BenchOutput::operator()(const SpeedRow& row) {
  print_row(row);
  keep(to_json(row));
}

void BenchOutput::operator()(const SkippedRow& row) {
  print_skipped(row);
  keep(to_json(row));
}

void BenchOutput::operator()(const FrontierRow& row) {
  print_frontier(row);
  keep(to_json(row));
}

void BenchOutput::machine(const MachineLimits& begin, const MachineLimits& end) {
  keep(to_json(begin, end));
  const auto moved = moved_limits(begin, end);
  if (!moved.empty()) {
    log_warning(
        "the machine was busy: its limits moved while the rows were measured ({}); shares of them are uncertain",
        moved);
  }
}

void BenchOutput::draw(const MachineLimits& limits) const {
  if (figure_.empty()) return;
  const auto machine =
      fmt::format("{}, {} threads; measured limits: {}.", cpu_info().name, num_threads(), limits.text());
  write_file_atomically(figure_, render_efficiency_page(parse_bench(lines_, "bench"), machine));
  print_out("{}\n", figure_);
}

void BenchOutput::keep(const std::string& line) {
  lines_ += line + '\n';
  if (file_) file_->append(line + '\n');
}

}  // namespace lt2
