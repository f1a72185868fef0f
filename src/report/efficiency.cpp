#include "report/efficiency.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "report/chart.h"
#include "report/html.h"
#include "report/page_parts.h"
#include "report/page_style.h"

namespace lt2 {
namespace {

/// 65536 -> "64k", 3145728 -> "3M": on an axis that goes far.
std::string context_label(double tokens) {
  constexpr double kMega = 1 << 20;
  if (tokens >= kMega && std::fmod(tokens, kMega) == 0) return format_tick(tokens / kMega) + "M";
  return format_context(tokens);
}

ChartAxis context_axis(const char* title) {
  return {.title = title,
          .scale = AxisScale::kLog2,
          .snug = true,
          .tick_label = context_label,
          .value_label = [](double tokens) { return integer(tokens) + " tokens"; }};
}

/// What a row is about, run or not.
const std::string& mode_of(const BenchRow& row) { return row.kind == "skipped" ? row.mode : row.kind; }

/// The rows of one shape.
class Shape {
 public:
  Shape(std::string name, const std::vector<BenchRow>& all) : name_(std::move(name)) {
    for (const auto& row : all) {
      if (row.shape != name_ || row.kind == "machine") continue;
      rows_.push_back(row);
      const auto label = series_of(row);
      if (std::find(names_.begin(), names_.end(), label) == names_.end()) names_.push_back(label);
    }
  }

  std::string section_html() const {
    std::string body;
    if (const auto panels = all_panels(); !panels.empty()) {
      body += soft_paragraph(
          "A pale area is where the middle half of the runs lies. Thin dashed lines are what this machine's measured "
          "bandwidth and arithmetic rate allow at best. Memory is "
          "weights, states and scratch as planned; a triangle marks the largest context that fits.");
      body += render_panels(panels);
    }
    body += frontier_table() + numbers_table();
    return section(name_.empty() ? "Efficiency" : "Efficiency: " + name_, body);
  }

 private:
  std::string series_of(const BenchRow& row) const {
    // One type is the rule; a second one gets separate lines.
    return rows_.empty() || row.dtype.empty() || row.dtype == rows_.front().dtype ? row.model
                                                                                  : row.model + ", " + row.dtype;
  }

  std::set<double> batches_of(const std::string& mode) const {
    std::set<double> batches;
    for (const auto& row : rows_) {
      if (mode_of(row) == mode) batches.insert(row.batch);
    }
    return batches;
  }

  std::vector<ChartSeries> empty_series() const {
    std::vector<ChartSeries> all;
    for (const auto& name : names_) all.push_back({.name = name, .markers = true});
    return all;
  }
  size_t index_of(const BenchRow& row) const {
    return static_cast<size_t>(std::find(names_.begin(), names_.end(), series_of(row)) - names_.begin());
  }
  static void sort_points(Chart& chart) {
    for (auto& series : chart.series) {
      std::stable_sort(series.points.begin(), series.points.end(),
                       [](const auto& a, const auto& b) { return a.x < b.x; });
      std::stable_sort(series.band.begin(), series.band.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
    }
  }

  std::vector<Panel> all_panels() const {
    std::vector<Panel> panels;
    for (const double batch : batches_of("decode")) add(panels, speed_panel("decode", "Decoding", batch));
    for (const double batch : batches_of("decode")) add(panels, memory_panel(batch));
    for (const double batch : batches_of("prefill")) add(panels, speed_panel("prefill", "Prefill", batch));
    return panels;
  }
  static void add(std::vector<Panel>& panels, Panel panel) {
    const auto any = [](const ChartSeries& series) { return !series.points.empty(); };
    if (std::any_of(panel.chart.series.begin(), panel.chart.series.end(), any)) panels.push_back(std::move(panel));
  }

  Panel speed_panel(const std::string& mode, const std::string& title, double batch) const {
    Chart chart;
    chart.description = fmt::format("{}: tokens per second against context, batch {}.", title, integer(batch));
    chart.x = context_axis(mode == "decode" ? "context (tokens)" : "prompt (tokens)");
    chart.y = {.title = "tokens per second", .from_zero = true, .value_label = [](double value) {
                 return format_number(value) + " tokens/s";
               }};
    chart.series = empty_series();
    for (size_t i = 0; i < names_.size(); ++i) chart.series.push_back({.name = names_[i] + ", limit", .floor_of = i});
    for (const auto& row : rows_) {
      if (row.kind != mode || row.batch != batch) continue;
      auto& series = chart.series[index_of(row)];
      series.points.push_back({row.context, row.tokens_per_s});
      series.band.push_back({row.context, row.tokens_per_s_low, row.tokens_per_s_high});
      chart.series[names_.size() + index_of(row)].points.push_back({row.context, row.floor_tokens_per_s});
    }
    sort_points(chart);
    return {fmt::format("{}, batch {}", title, integer(batch)), chart};
  }

  Panel memory_panel(double batch) const {
    Chart chart;
    chart.description = fmt::format("Memory against context, both axes logarithmic, batch {}.", integer(batch));
    chart.x = context_axis("context (tokens)");
    chart.y = {.title = "memory", .scale = AxisScale::kLog2, .tick_label = bytes_text, .value_label = bytes_text};
    chart.series = empty_series();
    std::set<double> memories;
    for (const auto& row : rows_) {
      if (row.kind == "frontier" && row.batch == batch && std::isfinite(row.memory_bytes))
        memories.insert(row.memory_bytes);
    }
    // What is beyond every memory asked about would only press the rest together.
    const double most = memories.empty() ? std::numeric_limits<double>::infinity() : *memories.rbegin();
    double longest = 0;
    for (const auto& row : rows_) {
      const bool frontier = row.kind == "frontier";
      if (row.batch != batch || !(frontier || mode_of(row) == "decode")) continue;
      if (!std::isfinite(row.context) || row.context <= 0 || !(row.planned_bytes <= most)) continue;
      chart.series[index_of(row)].points.push_back({row.context, row.planned_bytes});
      longest = std::max(longest, row.context);
      if (!frontier) continue;
      chart.marks.push_back(
          {row.context, row.planned_bytes,
           fmt::format("{}: {} tokens fit {}", row.model, integer(row.context), bytes_text(row.memory_bytes))});
    }
    sort_points(chart);
    for (const auto& row : rows_) {
      // Memory does not limit it: its line continues level.
      auto& points = chart.series[index_of(row)].points;
      if (row.kind == "frontier" && row.batch == batch && std::isnan(row.context) && !points.empty() &&
          points.back().x < longest) {
        points.push_back({longest, points.back().y});
      }
    }
    for (const double memory : memories) chart.levels.push_back({memory, bytes_text(memory)});
    return {"Memory, batch " + integer(batch), chart};
  }

  std::string frontier_table() const {
    std::string body;
    for (const auto& row : rows_) {
      if (row.kind != "frontier") continue;
      const std::string tried =
          std::isfinite(row.tried_context)
              ? fmt::format("{} tokens, {} of states", integer(row.tried_context), bytes_text(row.resident_bytes))
              : "computed only";
      body += fmt::format(
          "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>\n",
          escape_html(series_of(row)), integer(row.batch), escape_html(bytes_text(row.memory_bytes)),
          std::isnan(row.context) ? "no end"
          : row.context == 0      ? "none"
                                  : integer(row.context),
          escape_html(bytes_text(row.state_bytes)), integer(row.refused_context), escape_html(tried));
    }
    if (body.empty()) return "";
    return "<h3>The largest context that fits</h3>\n<div "
           "class=\"scroll\"><table><thead><tr><th>Model</th><th>Batch</th>"
           "<th>Memory</th><th>Context</th><th>States</th><th>Refused</th><th class=\"text\">Tried here</th></tr>"
           "</thead><tbody>\n" +
           body + "</tbody></table></div>\n";
  }

  std::string numbers_table() const {
    std::string body;
    bool any_noise = false;
    for (const auto& row : rows_) {
      if (row.kind == "frontier") continue;
      any_noise |= row.noisy || row.predicted_share_noisy;
      body += fmt::format("<tr><td>{}</td><td class=\"text\">{}</td><td>{}</td><td>{}</td>", escape_html(mode_of(row)),
                          escape_html(series_of(row)), integer(row.context), integer(row.batch));
      if (row.kind == "skipped") {
        body += fmt::format("<td></td><td></td><td>{}</td><td class=\"text\" colspan=\"5\">not run: {}</td></tr>\n",
                            format_number(row.floor_tokens_per_s), escape_html(row.reason));
        continue;
      }
      body += fmt::format(
          "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
          marked(row.tokens_per_s, row.noisy), half_text(row.tokens_per_s_low, row.tokens_per_s_high, row.repeats),
          format_number(row.floor_tokens_per_s), format_share(row.share),
          std::isfinite(row.first_token_s) ? format_number(row.first_token_s) + " s" : "–",
          escape_html(bytes_text(row.state_bytes)), escape_html(bytes_text(row.peak_bytes)),
          marked(row.predicted_share, row.predicted_share_noisy));
    }
    if (body.empty()) return "";
    return "<details><summary>The measurements</summary>\n<div class=\"scroll\"><table><thead><tr><th>Kind</th>"
           "<th class=\"text\">Model</th><th>Context</th><th>Batch</th><th>Tokens/s</th><th>Half of the "
           "runs</th><th>Limit</th><th>Share</th>"
           "<th>First token</th><th>State</th><th>Peak memory</th><th>Of first</th></tr></thead><tbody>\n" +
           body + "</tbody></table></div>\n" +
           soft_paragraph(
               "First token: of a prompt, or with an existing state. Of first: against what the bytes "
               "predict from the shortest context's own speed, in pairs.") +
           (any_noise ? mark_explained() : "") + "</details>\n";
  }

  std::string name_;
  std::vector<BenchRow> rows_;
  std::vector<std::string> names_;  // of the series, in the order of the rows
};

}  // namespace

std::string moved_notes(const std::vector<BenchRow>& rows) {
  std::string out;
  for (const auto& row : rows) {
    if (row.kind != "machine" || !row.noisy) continue;
    out += soft_paragraph("Note: the machine was busy while speeds were measured: its limits moved (" + row.reason +
                          "), so shares of the limits are uncertain.");
  }
  return out;
}

std::string efficiency_sections(const std::vector<BenchRow>& rows) {
  std::vector<std::string> shapes;
  for (const auto& row : rows) {
    if (row.kind == "machine") continue;
    if (std::find(shapes.begin(), shapes.end(), row.shape) == shapes.end()) shapes.push_back(row.shape);
  }
  std::string out;
  for (const auto& shape : shapes) out += Shape(shape, rows).section_html();
  return out;
}

std::string render_efficiency_page(const std::vector<BenchRow>& rows, const std::string& machine) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n"
      "<title>LT2 efficiency</title>\n<style>\n{}{}main {{ max-width: 1240px; }}\n</style>\n</head>\n<body>\n<main>\n"
      "<h1>Speed and memory against context</h1>\n{}{}</main>\n<script>\n{}</script>\n</body>\n</html>\n",
      kPageStyle, chart_style(), soft_paragraph(machine) + moved_notes(rows), efficiency_sections(rows),
      chart_script());
}

}  // namespace lt2
