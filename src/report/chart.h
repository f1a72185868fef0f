#pragma once
// Line charts as inline SVG: one call, no script needed, light and dark, wide and narrow.
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lt2 {

enum class AxisScale { kLinear, kLog2, kLog10 };

struct ChartAxis {
  std::string title = {};  // with the unit: "tokens per second"
  AxisScale scale = AxisScale::kLinear;
  bool from_zero = false;                               // a linear axis that shows zero, so that heights compare
  bool snug = false;                                    // ends at the data, not at round numbers
  std::function<std::string(double)> tick_label = {};   // default: format_tick
  std::function<std::string(double)> value_label = {};  // in the pointer's label; default: format_number
};

struct ChartPoint {
  double x = 0, y = 0;
};

struct ChartBand {
  double x = 0, low = 0, high = 0;
};

struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points =
      {};                            // drawn in order of x; a point without a finite place on both axes breaks the line
  std::vector<ChartBand> band = {};  // a pale area behind the line, may be empty
  bool markers = false;              // few measured points: show each
  std::optional<size_t> floor_of =
      {};  // the limit of this other series: thin, dashed, in its colour, not in the legend
};

struct ChartMark {
  double x = 0, y = 0;
  std::string label;  // under a resting pointer
};

struct ChartLevel {
  double y = 0;
  std::string label;  // written above the line, at its left end
};

struct Chart {
  std::string description;  // one sentence for readers who cannot see the picture
  ChartAxis x, y;
  std::vector<ChartSeries> series;
  std::vector<ChartMark> marks = {};    // points to look at: a small triangle above each
  std::vector<ChartLevel> levels = {};  // values to compare with: a line across
};

/// A chart among others with the same series.
struct Panel {
  std::string title;
  Chart chart;
};

/// At most `at_most` (>= 2) round values inside [low, high], in order: 1, 2, 5 times a power of ten on linear and log10
/// axes, powers of two on log2. A log axis too short for two such values falls back to linear ones. Finite for any
/// input, empty if the range is not (low <= high, and above 0 on a log axis).
std::vector<double> tick_values(AxisScale scale, double low, double high, int at_most);

/// One picture of width x height units. `direct_labels` writes each series' name at the end of its line.
std::string render_svg(const Chart& chart, int width, int height, bool direct_labels);

/// The chart for a page: a wide and a narrow drawing of which the style sheet shows the one that fits, and a legend
/// where the lines are not labelled.
std::string render_chart(const Chart& chart);

/// Several charts of the same series side by side, as many as fit into a row, under one legend.
std::string render_panels(const std::vector<Panel>& panels);

/// Rules that render_chart's output needs once a page. Colours come from custom properties, to be set by the page:
/// --ink, --ink-soft, --line, --ground, --alert (marks), --series-1 to --series-6 (further series repeat the colours,
/// dashed).
std::string_view chart_style();

/// Script that shows values under the pointer; the page is complete without it. Charts that come later are to be given
/// to its function watchCharts(element).
std::string_view chart_script();

}  // namespace lt2
