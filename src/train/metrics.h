#pragma once
// metrics.jsonl with lingua's keys: each log point appends one JSON object.
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lt2 {

/// UTC now as 2026-05-20T12:34:56.789012+00:00.
std::string utc_timestamp();
/// Resident set of this process, GiB.
double resident_gib();

/// The values of one line of metrics.jsonl.
struct StepMetrics {
  int64_t global_step = 0, total_tokens = 0, loops = 1;
  double tokens_per_s = 0, flops = 0;          // over the steps since the last line
  double iteration_s = 0;                      // of the last of them
  double data_s = 0;                           // waited for data in all of them
  double gradient_norm = 0, lr = 0, loss = 0;  // not finite: null in the file
  double mfu = 0;                              // flops as a share of the machine's peak; 0: unknown, no such key
  std::vector<std::pair<std::string, double>> terms = {};       // of the loss: loss/NAME; NaN: no such key
  std::vector<std::pair<std::string, double>> unit_norms = {};  // of the gradient: optim/grad_norm/UNIT
};

/// The numbers of a line that make curves, under the line's keys: all but the step and the constant ones.
std::vector<std::pair<std::string, double>> scalars_of(const StepMetrics& m);

class MetricsLog {
 public:
  /// Appends to PATH from `resumed_step` on. Drops a broken last line and the lines of later steps, which a run left
  /// that died after its last checkpoint.
  MetricsLog(const std::filesystem::path& path, int64_t resumed_step);
  void write(const StepMetrics& m);

 private:
  std::filesystem::path path_;
};

/// Appends one line {"global_step", source: {"loss_per_token", "bits_per_byte", ...}, "created_at"} to
/// metrics.validation.jsonl.
void append_validation(const std::filesystem::path& path, int64_t step, const std::string& source,
                       double loss_per_token, double bits_per_byte);

/// Keeps the lines of a .jsonl file whose global_step is at most `step`.
void drop_lines_after(const std::filesystem::path& path, int64_t step);

}  // namespace lt2
