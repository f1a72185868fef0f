#include "report/decode_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html.h"
#include "report/page_parts.h"

namespace lt2 {
namespace {

double positive(double ratio) { return ratio > 0 && std::isfinite(ratio) ? ratio : kAbsent; }

}  // namespace

std::string display_name(const std::string& model) { return model == "full" ? "full attention" : model; }

std::vector<BenchRow> decode_rows(const std::vector<BenchRow>& bench) {
  std::vector<BenchRow> rows;
  std::copy_if(bench.begin(), bench.end(), std::back_inserter(rows),
               [](const auto& r) { return r.kind == "decode" && r.own_time(); });
  return rows;
}

const BenchRow* find_row(const std::vector<BenchRow>& rows, const BenchRow& like, const std::string& model) {
  const auto at = std::find_if(rows.begin(), rows.end(), [&](const BenchRow& row) {
    return row.kind == like.kind && row.model == model && row.dtype == like.dtype && row.batch == like.batch &&
           row.context == like.context;
  });
  return at == rows.end() ? nullptr : &*at;
}

std::optional<DecodeComparison> compare_decode(const std::vector<BenchRow>& bench) {
  const auto rows = decode_rows(bench);
  std::vector<std::string> others;
  for (const auto& row : rows) {
    if (row.model != "full") others.push_back(row.model);
  }
  if (others.empty()) return std::nullopt;
  const bool hybrid = std::find(others.begin(), others.end(), "hybrid") != others.end();
  const std::string model = hybrid ? "hybrid" : others.front();
  std::optional<DecodeComparison> best;
  for (const auto& row : rows) {
    if (row.model != model || (best && row.context <= best->context)) continue;
    const BenchRow* full = find_row(rows, row, "full");
    if (!full) continue;
    DecodeComparison pair{.model = model,
                          .baseline = "full",
                          .context = row.context,
                          .state_ratio = positive(full->state_bytes / row.state_bytes),
                          .model_state_bytes = row.state_bytes,
                          .baseline_state_bytes = full->state_bytes};
    if (row.baseline == pair.baseline) {
      pair.speed_ratio = positive(row.speed_ratio);
      pair.speed_ratio_low = row.speed_ratio_low;
      pair.speed_ratio_high = row.speed_ratio_high;
      pair.pairs = row.repeats;
      pair.noisy = row.speed_ratio_noisy;
    }
    if (std::isfinite(pair.speed_ratio) || std::isfinite(pair.state_ratio)) best = pair;
  }
  return best;
}

std::string efficiency_summary(const std::vector<BenchRow>& bench) {
  const auto pair = compare_decode(bench);
  if (!pair) return "";
  std::string speed, state;
  if (std::isfinite(pair->speed_ratio)) {
    speed = fmt::format("decodes {}{} times as fast as {}{}", pair->noisy ? "about " : "",
                        format_number(pair->speed_ratio), display_name(pair->baseline),
                        pair->noisy
                            ? fmt::format(" (noisy: half of the pairs of runs lie between {} and {})",
                                          format_number(pair->speed_ratio_low), format_number(pair->speed_ratio_high))
                            : "");
  }
  if (std::isfinite(pair->state_ratio)) {
    const bool smaller = pair->state_ratio >= 1;
    state =
        fmt::format("keeps a state {} times {} ({} instead of {})",
                    format_number(smaller ? pair->state_ratio : 1 / pair->state_ratio), smaller ? "smaller" : "larger",
                    bytes_text(pair->model_state_bytes), bytes_text(pair->baseline_state_bytes));
  }
  return fmt::format("At a context of {} tokens the {} model {}{}{}.", integer(pair->context),
                     display_name(pair->model), speed, !speed.empty() && !state.empty() ? " and " : "", state);
}

}  // namespace lt2
