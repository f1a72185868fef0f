#include "train/metrics.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/append_file.h"
#include "base/error.h"
#include "base/files.h"

namespace lt2 {
namespace {

void append_line(const std::filesystem::path& path, const std::string& line) { AppendFile(path).append(line + '\n'); }

double rounded(double value, double unit) { return std::round(value / unit) * unit; }

// Lingua's keys that mean nothing here.
constexpr std::array kZeroKeys{
    "acc_step",        "memory/max_active_pct", "memory/max_reserved_pct", "memory/num_alloc_retries",
    "memory/num_ooms", "memory/power_draw"};

nlohmann::ordered_json line_of(const StepMetrics& m) {
  nlohmann::ordered_json line{
      {"global_step", m.global_step},
      {"acc_step", 0},
      {"speed/wps", m.tokens_per_s},
      {"speed/FLOPS", m.flops},
      {"speed/curr_iter_time", rounded(m.iteration_s, 1e-4)},
      {"speed/data_load_time", rounded(m.data_s, 1e-4)},
      {"speed/loops", m.loops},
      {"optim/grad_norm", m.gradient_norm},
      {"optim/lr", m.lr},
      {"optim/total_tokens", m.total_tokens},
      {"memory/max_active_gib", resident_gib()},
      {"memory/max_active_pct", 0},
      {"memory/max_reserved_gib", resident_gib()},
      {"memory/max_reserved_pct", 0},
      {"memory/num_alloc_retries", 0},
      {"memory/num_ooms", 0},
      {"memory/power_draw", 0},
      {"loss/out", m.loss},
  };
  for (const auto& [name, value] : m.terms) {
    if (!std::isnan(value)) line["loss/" + name] = value;
  }
  if (m.mfu > 0) line["speed/mfu"] = m.mfu;
  for (const auto& [unit, norm] : m.unit_norms) line["optim/grad_norm/" + unit] = norm;
  return line;
}

}  // namespace

std::string utc_timestamp() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}+00:00", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000);
}

double resident_gib() {
  std::ifstream file("/proc/self/statm");
  double pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1024.0 * 1024 * 1024);
}

void drop_lines_after(const std::filesystem::path& path, int64_t step) {
  if (!is_there(path)) return;
  const auto content = read_file(path);
  std::istringstream lines(content);
  std::string kept, line;
  while (std::getline(lines, line)) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    const auto at = json.find("global_step");
    if (at == json.end() || (at->is_number() && at->get<double>() <= static_cast<double>(step))) kept += line + '\n';
  }
  if (kept != content) write_file_atomically(path, kept);
}

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t resumed_step) : path_(path) {
  drop_lines_after(path, resumed_step);
}

void MetricsLog::write(const StepMetrics& m) {
  auto line = line_of(m);
  line["created_at"] = utc_timestamp();
  append_line(path_, line.dump());
}

std::vector<std::pair<std::string, double>> scalars_of(const StepMetrics& m) {
  std::vector<std::pair<std::string, double>> out;
  const auto line = line_of(m);
  for (const auto& [key, value] : line.items()) {
    const bool constant = std::find(kZeroKeys.begin(), kZeroKeys.end(), key) != kZeroKeys.end();
    if (key != "global_step" && !constant) out.emplace_back(key, value.get<double>());
  }
  return out;
}

void append_validation(const std::filesystem::path& path, int64_t step, const std::string& source,
                       double loss_per_token, double bits_per_byte) {
  const nlohmann::ordered_json line{{"global_step", step},
                                    {source, {{"loss_per_token", loss_per_token}, {"bits_per_byte", bits_per_byte}}},
                                    {"created_at", utc_timestamp()}};
  append_line(path, line.dump());
}

}  // namespace lt2
