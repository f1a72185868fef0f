#include "report/training_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include "report/chart.h"
#include "report/heat_map.h"
#include "report/html.h"
#include "report/page_parts.h"
#include "report/report.h"
#include "report/spikes.h"

namespace lt2 {
namespace {

// More log lines than kMostPoints are drawn as about kBins means of neighbours with a band for their range: where
// several share a pixel, a line of noise hides its trend.
constexpr size_t kMostPoints = 400, kBins = 200;
constexpr size_t kMostMarks = 30;  // more would hide the curve

/// A curve over the steps, thinned by averaging neighbours where it has too many points; returns how many lines make
/// one point.
size_t fill_series(const RunRecord& run, double TrainPoint::*field, ChartSeries& series) {
  std::vector<ChartPoint> points;
  for (const auto& [step, point] : run.train) points.push_back({step, point.*field});
  const size_t bin = points.size() <= kMostPoints ? 1 : (points.size() + kBins - 1) / kBins;
  if (bin <= 1) {
    series.points = std::move(points);
    return 1;
  }
  for (size_t begin = 0; begin < points.size(); begin += bin) {
    const size_t end = std::min(points.size(), begin + bin);
    double x = 0, y = 0, low = INFINITY, high = -INFINITY;
    for (size_t i = begin; i < end; ++i) {
      x += points[i].x / static_cast<double>(end - begin);
      y += points[i].y / static_cast<double>(end - begin);
      low = std::min(low, points[i].y);
      high = std::max(high, points[i].y);
    }
    series.points.push_back({x, y});
    if (std::isfinite(y)) series.band.push_back({x, low, high});
  }
  return bin;
}

ChartAxis step_axis() {
  return {.title = "training step", .snug = true, .value_label = [](double step) { return "step " + integer(step); }};
}

// A value that once exploded would press everything else flat.
AxisScale scale_for(const Chart& chart, double largest_ratio) {
  double low = INFINITY, high = -INFINITY;
  for (const auto& series : chart.series) {
    for (const auto& point : series.points) {
      if (!std::isfinite(point.y)) continue;
      low = std::min(low, point.y);
      high = std::max(high, point.y);
    }
  }
  return low > 0 && high / low > largest_ratio ? AxisScale::kLog10 : AxisScale::kLinear;
}

/// The highest kMostMarks of them.
std::vector<ChartMark> spike_marks(std::vector<LossSpike> spikes) {
  std::stable_sort(spikes.begin(), spikes.end(),
                   [](const auto& a, const auto& b) { return a.loss - a.before > b.loss - b.before; });
  if (spikes.size() > kMostMarks) spikes.resize(kMostMarks);
  std::vector<ChartMark> marks;
  for (const auto& spike : spikes) {
    marks.push_back({spike.step, spike.loss,
                     fmt::format("step {}: loss {}, {} before", integer(spike.step), format_number(spike.loss),
                                 format_number(spike.before))});
  }
  return marks;
}

std::string spike_text(const std::vector<LossSpike>& spikes) {
  if (spikes.empty()) return "";
  const auto highest = std::max_element(
      spikes.begin(), spikes.end(), [](const auto& a, const auto& b) { return a.loss - a.before < b.loss - b.before; });
  return fmt::format("<p class=\"soft\"><span class=\"spike\">▼</span> {}</p>\n",
                     escape_html(fmt::format(
                         "{} loss spike{}{}: a line's loss above the median of the {} before it by more than {} times "
                         "their median absolute deviation and by more than {}. The highest: step {}, {} after {}.",
                         spikes.size(), spikes.size() == 1 ? "" : "s",
                         spikes.size() > kMostMarks ? fmt::format(" (the highest {} are marked)", kMostMarks) : "",
                         kSpikeWindow, kSpikeDeviations, format_share(kLeastSpike), integer(highest->step),
                         format_number(highest->loss), format_number(highest->before))));
}

std::string validation_table(const RunRecord& run) {
  std::string out =
      "<div class=\"scroll\"><table><thead><tr><th>Validation text</th><th>Step</th><th>Loss (nats/token)</th>"
      "<th>Bits per byte</th></tr></thead><tbody>\n";
  for (const auto& [source, points] : run.validation) {
    const auto& [step, point] = *points.rbegin();
    out += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", escape_html(source), integer(step),
                       format_number(point.loss_per_token), format_number(point.bits_per_byte));
  }
  return out + "</tbody></table></div>\n";
}

std::string training_facts(const RunRecord& run) {
  Facts facts;
  const auto& last = run.train.rbegin()->second;
  if (std::isfinite(last.total_tokens)) facts.emplace_back("Tokens read", integer(last.total_tokens));
  if (const double speed = median_of(run, &TrainPoint::tokens_per_s); std::isfinite(speed)) {
    facts.emplace_back("Training speed", format_number(speed) + " tokens/s (median)");
  }
  if (const double flops = median_of(run, &TrainPoint::flops_per_s); std::isfinite(flops)) {
    facts.emplace_back("Arithmetic", format_number(flops / 1e9) + " GFLOP/s (median, model operations only)");
  }
  if (const double mfu = median_of(run, &TrainPoint::mfu); std::isfinite(mfu)) {
    facts.emplace_back("Share of the peak", format_share(mfu) + " (MFU, median)");
  }
  if (std::isfinite(last.loops)) facts.emplace_back("Loops", integer(last.loops) + " passes through the layers");
  if (std::isfinite(last.learning_rate)) facts.emplace_back("Last learning rate", format_tick(last.learning_rate));
  if (std::isfinite(last.grad_norm) && last.grad_norm >= 0) {
    facts.emplace_back("Last gradient norm", format_number(last.grad_norm) + " (before clipping)");
  }
  return facts.empty() ? "" : facts_list(facts);
}

/// Units from the output down to the embedding, as they were logged; columns are log lines.
HeatMap unit_map(const RunRecord& run) {
  HeatMap map{.description = "Gradient norm of every unit over the training steps.",
              .x_title = "training step",
              .rows = run.units,
              .values = {}};
  std::vector<const std::pair<const double, TrainPoint>*> lines;
  for (const auto& line : run.train) {
    if (!line.second.unit_norms.empty()) lines.push_back(&line);
  }
  map.values.resize(run.units.size());
  for (const auto* line : lines) {
    map.x.push_back(line->first);
    for (size_t unit = 0; unit < run.units.size(); ++unit) {
      const auto& norms = line->second.unit_norms;
      map.values[unit].push_back(unit < norms.size() ? norms[unit] : 0.0);
    }
  }
  return map;
}

std::string unit_table(const HeatMap& map) {
  std::string out =
      "<details><summary>Show the numbers</summary><div class=\"scroll\"><table><thead><tr><th>Unit</th><th>First</th>"
      "<th>Median</th><th>Highest</th><th>Last</th></tr></thead><tbody>\n";
  for (size_t unit = 0; unit < map.rows.size(); ++unit) {
    std::vector<double> values;
    std::copy_if(map.values[unit].begin(), map.values[unit].end(), std::back_inserter(values),
                 [](double value) { return std::isfinite(value) && value > 0; });
    if (values.empty()) continue;
    const double first = values.front(), last = values.back();
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
    const double middle = values[values.size() / 2];
    out += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                       escape_html(map.rows[unit]), format_number(first), format_number(middle),
                       format_number(*std::max_element(values.begin(), values.end())), format_number(last));
  }
  return out + "</tbody></table></div></details>\n";
}

}  // namespace

Losses summarise_losses(const RunRecord& run) {
  Losses losses;
  for (const auto& [step, point] : run.train) {
    ++losses.count;
    if (!std::isfinite(point.loss)) {
      if (losses.not_finite++ == 0) losses.first_not_finite = step;
      continue;
    }
    if (std::isnan(losses.first)) std::tie(losses.first_step, losses.first) = std::pair(step, point.loss);
    std::tie(losses.last_step, losses.last) = std::pair(step, point.loss);
  }
  return losses;
}

ValidationPoint last_validation(const RunRecord& run) {
  ValidationPoint mean{0, 0};
  for (const auto& [source, points] : run.validation) {
    mean.loss_per_token += points.rbegin()->second.loss_per_token / static_cast<double>(run.validation.size());
    mean.bits_per_byte += points.rbegin()->second.bits_per_byte / static_cast<double>(run.validation.size());
  }
  return run.validation.empty() ? ValidationPoint{} : mean;
}

double median_of(const RunRecord& run, double TrainPoint::*field) {
  std::vector<double> values;
  for (const auto& [step, point] : run.train) {
    if (std::isfinite(point.*field)) values.push_back(point.*field);
  }
  if (values.empty()) return kAbsent;
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

std::string loss_section(const RunRecord& run) {
  const char* title = "Loss while training";
  if (run.train.empty() && run.validation.empty()) {
    return section(title, missing("metrics.jsonl has no complete line; training writes it."));
  }
  Chart chart;
  chart.description = "Loss in nats per token against training step. " + training_summary(run);
  chart.x = step_axis();
  chart.y = {.title = "loss (nats per token)"};
  size_t bin = 1;
  if (!run.train.empty()) {
    chart.series.push_back({.name = "training"});
    bin = fill_series(run, &TrainPoint::loss, chart.series.back());
  }
  for (const auto& [source, points] : run.validation) {
    ChartSeries series{.name = run.validation.size() == 1 ? "validation" : "validation: " + source, .markers = true};
    for (const auto& [step, point] : points) series.points.push_back({step, point.loss_per_token});
    series.markers = points.size() <= 30;
    chart.series.push_back(std::move(series));
  }
  chart.y.scale = scale_for(chart, 50);
  const auto spikes = find_loss_spikes(run.train);
  chart.marks = spike_marks(spikes);

  std::string body = paragraph(
      "How surprised the model is by the next token of the text, on average; lower is better. Training loss is "
      "measured "
      "on the text it learns from, validation loss on text it never trains on.");
  body += render_chart(chart);
  if (bin > 1) {
    body += soft_paragraph(
        fmt::format("The training line is the mean of {} neighbouring log lines, the pale area their range.", bin));
  }
  body += spike_text(spikes);
  if (const auto losses = summarise_losses(run); losses.not_finite > 0) {
    body += soft_paragraph(fmt::format("No finite loss in {} of {} log lines, first at step {}: gaps in the line.",
                                       losses.not_finite, losses.count, integer(losses.first_not_finite)));
  }
  if (run.train.empty()) body += missing("the training line; metrics.jsonl is missing or empty.");
  if (run.validation.empty()) body += missing("the validation line; there is no metrics.validation.jsonl.");
  if (run.validation.size() > 1) body += validation_table(run);
  if (!run.train.empty()) body += training_facts(run);
  return section(title, body);
}

std::string gradient_section(const RunRecord& run) {
  Chart chart;
  chart.description = "Norm of the gradient against training step.";
  chart.x = step_axis();
  chart.y = {.title = "gradient norm"};
  chart.series.push_back({.name = "gradient norm"});
  // Lingua writes -1 where there was no optimizer step.
  const size_t bin = fill_series(run, &TrainPoint::grad_norm, chart.series.back());
  auto& points = chart.series.back().points;
  points.erase(std::remove_if(points.begin(), points.end(), [](const ChartPoint& point) { return point.y < 0; }),
               points.end());
  const bool any =
      std::any_of(points.begin(), points.end(), [](const ChartPoint& point) { return std::isfinite(point.y); });
  const auto map = unit_map(run);
  const auto heat = render_heat_map(map);
  if (!any && heat.empty()) return "";
  std::string body;
  if (any) {
    chart.y.scale = scale_for(chart, 20);
    body += paragraph(
        "How strongly a step pulls at the weights, before clipping. A norm that grows, or jumps with the loss, "
        "announces trouble.");
    body += render_chart(chart);
    if (bin > 1) body += soft_paragraph(fmt::format("The line is the mean of {} neighbouring log lines.", bin));
  }
  if (!heat.empty()) {
    body += paragraph(
        "The same for every part of the model, from its output down to the embedding. The stronger the colour, the "
        "larger "
        "the norm; the scale is logarithmic.");
    body += heat + unit_table(map);
  }
  return section("Gradient", body);
}

std::string training_speed_section(const RunRecord& run) {
  Chart chart;
  chart.description = "Tokens per second while training against training step.";
  chart.x = step_axis();
  chart.y = {.title = "tokens per second", .from_zero = true, .value_label = [](double value) {
               return format_number(value) + " tokens/s";
             }};
  chart.series.push_back({.name = "training"});
  const size_t bin = fill_series(run, &TrainPoint::tokens_per_s, chart.series.back());
  const auto& points = chart.series.back().points;
  if (std::none_of(points.begin(), points.end(), [](const ChartPoint& point) { return std::isfinite(point.y); })) {
    return "";
  }
  std::string body = paragraph("Tokens trained on per second, between one log line and the next.");
  body += render_chart(chart);
  if (bin > 1) body += soft_paragraph(fmt::format("The line is the mean of {} neighbouring log lines.", bin));
  return section("Training speed", body);
}

}  // namespace lt2
