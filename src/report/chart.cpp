#include "report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "report/html.h"

namespace lt2 {
namespace {

// Sums, spans and logarithms of values inside these limits stay finite.
constexpr double kLargest = 1e300, kSmallest = 1e-300;
constexpr int kColours = 6;
constexpr int kPanelWidth = 370, kPanelHeight = 280;
constexpr double kCharWidth = 7.3;  // of the 13-unit label font, generous: labels must not be cut

struct Range {
  double low = 0, high = 1;
};

bool is_log(AxisScale scale) { return scale != AxisScale::kLinear; }

bool shown(const ChartAxis& axis, double value) {
  return std::isfinite(value) && std::abs(value) <= kLargest && (!is_log(axis.scale) || value >= kSmallest);
}

size_t width_in_chars(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::vector<double> linear_ticks(double low, double high, int at_most) {
  const double span = high - low;
  if (span <= 0) return {low};
  const double power = std::pow(10, std::floor(std::log10(span / at_most)));
  for (const double digit : {1., 2., 5., 10., 20., 50.}) {
    const double step = digit * power;
    if (step <= 0) continue;
    // Ends that rounding puts a hair outside still count.
    const double first = std::ceil(low / step - 1e-9), last = std::floor(high / step + 1e-9);
    if (last - first + 1 > at_most) continue;
    std::vector<double> ticks;
    for (int i = 0; i <= static_cast<int>(last - first); ++i) {
      const double value = std::clamp((first + i) * step, low, high);
      if (ticks.empty() || value > ticks.back()) ticks.push_back(value);
    }
    return ticks;
  }
  return {low, high};
}

/// Powers of `base` times each multiplier, inside [low, high]; the power's exponent is a multiple of `stride`.
std::vector<double> power_ticks(double base, const std::vector<double>& multipliers, int stride, double low,
                                double high) {
  std::vector<double> ticks;
  const double log_base = std::log(base);
  const int first = static_cast<int>(std::floor(std::log(low) / log_base)) - 1;
  const int last = static_cast<int>(std::ceil(std::log(high) / log_base)) + 1;
  for (int exponent = first; exponent <= last; ++exponent) {
    if (exponent % stride != 0) continue;
    for (const double multiplier : multipliers) {
      const double value = multiplier * std::pow(base, exponent);
      if (value >= low * (1 - 1e-12) && value <= high * (1 + 1e-12)) ticks.push_back(value);
    }
  }
  return ticks;
}

/// Widened to multiples of the smallest step that still leaves at most `at_most` ticks, so that the outermost lie on
/// both ends.
Range round_ends(const Range& range, int at_most) {
  for (int count = at_most; count >= 2; --count) {
    const auto ticks = linear_ticks(range.low, range.high, count);
    if (ticks.size() < 2) continue;
    const double step = ticks[1] - ticks[0];
    const double first = std::floor(range.low / step + 1e-9), last = std::ceil(range.high / step - 1e-9);
    if (last - first + 1 <= at_most) return {first * step, last * step};
  }
  return range;
}

/// From the lowest to the highest of the values that have a place on the axis, and as much further as the axis asks
/// for.
Range axis_range(const ChartAxis& axis, const std::vector<double>& values, int at_most) {
  Range range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const double value : values) {
    if (!shown(axis, value)) continue;
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  if (range.low > range.high) return is_log(axis.scale) ? Range{1, 10} : Range{0, 1};
  if (is_log(axis.scale)) {
    if (range.low == range.high) return {range.low / 2, range.high * 2};
    if (axis.snug) return range;
    if (axis.scale == AxisScale::kLog2) {
      return {std::exp2(std::floor(std::log2(range.low))), std::exp2(std::ceil(std::log2(range.high)))};
    }
    const double margin = std::pow(range.high / range.low, 0.05);
    return std::isfinite(margin) ? Range{range.low / margin, range.high * margin} : range;
  }
  if (axis.from_zero) range = {std::min(range.low, 0.0), std::max(range.high, 0.0)};
  // A span below the values' own precision would put every tick on one number.
  const double least = std::max({std::abs(range.low), std::abs(range.high), 1e-290}) * 1e-9;
  if (range.high - range.low < least) {
    const double margin = range.low == 0 && range.high == 0 ? 1 : 0.5 * std::abs(range.high);
    range = {range.low - margin, range.high + margin};
  }
  if (axis.snug) return range;
  return round_ends(range, at_most);
}

/// Where a value lies between the axis' ends, 0 to 1.
double fraction(AxisScale scale, const Range& range, double value) {
  const double t = is_log(scale) ? std::log(value / range.low) / std::log(range.high / range.low)
                                 : (value - range.low) / (range.high - range.low);
  return std::isfinite(t) ? std::clamp(t, 0.0, 1.0) : 0.0;
}

std::string colour_class(size_t index) {
  return fmt::format("s{}{}", index % kColours + 1, index >= kColours ? " again" : "");
}

/// Shapes differ as well as colours, so that neither has to carry the difference alone.
std::string marker(size_t index, double x, double y) {
  switch (index % 4) {
    case 0:
      return fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3.6"/>)", x, y);
    case 1:
      return fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="6.8" height="6.8"/>)", x - 3.4, y - 3.4);
    case 2:
      return fmt::format(R"(<path d="M{:.1f} {:.1f}l4.4 7.6h-8.8z"/>)", x, y - 4.8);
    default:
      return fmt::format(R"(<path d="M{:.1f} {:.1f}l4.6 4.6l-4.6 4.6l-4.6-4.6z"/>)", x, y - 4.6);
  }
}

/// Draws one chart at one size; the members are the geometry that its parts share.
class Drawing {
 public:
  Drawing(const Chart& chart, int width, int height, bool direct_labels)
      : chart_(chart), width_(width), height_(height), direct_labels_(direct_labels) {
    std::vector<double> xs, ys;
    for (const auto& series : chart.series) {
      for (const auto& point : series.points) {
        if (!shown(chart.x, point.x) || !shown(chart.y, point.y)) continue;
        xs.push_back(point.x);
        ys.push_back(point.y);
      }
      for (const auto& band : series.band) ys.insert(ys.end(), {band.low, band.high});
    }
    for (const auto& mark : chart.marks) ys.push_back(mark.y);
    for (const auto& level : chart.levels) ys.push_back(level.y);
    top_ = chart.y.title.empty() ? 14 : 34;
    bottom_ = height - (chart.x.title.empty() ? 26 : 48);
    const int most_y_ticks = std::max(3, (bottom_ - top_) / 36);
    y_range_ = axis_range(chart.y, ys, most_y_ticks);
    y_ticks_ = tick_values(chart.y.scale, y_range_.low, y_range_.high, most_y_ticks);
    size_t widest = 1;
    for (const double value : y_ticks_) widest = std::max(widest, width_in_chars(label(chart.y, value)));
    left_ = static_cast<int>(14 + kCharWidth * static_cast<double>(widest));
    size_t longest = 0;
    for (const auto& series : chart.series) longest = std::max(longest, width_in_chars(series.name));
    right_ = width - (direct_labels ? static_cast<int>(18 + kCharWidth * static_cast<double>(longest)) : 16);
    x_range_ = axis_range(chart.x, xs, std::max(3, (right_ - left_) / 60));
    x_ticks_ = fitting_x_ticks();
  }

  std::string svg() const {
    std::string out = fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", width_, height_,
                                  escape_html(chart_.description));
    out += axes();
    for (size_t i = 0; i < chart_.series.size(); ++i) out += series(i);
    out += levels();
    out += marks();
    if (direct_labels_) out += labels();
    return out + "</svg>";
  }

 private:
  static std::string label(const ChartAxis& axis, double value) {
    return axis.tick_label ? axis.tick_label(value) : format_tick(value);
  }
  static std::string exact(const ChartAxis& axis, double value) {
    return axis.value_label ? axis.value_label(value) : format_number(value);
  }
  double px(double x) const { return left_ + fraction(chart_.x.scale, x_range_, x) * (right_ - left_); }
  double py(double y) const { return bottom_ - fraction(chart_.y.scale, y_range_, y) * (bottom_ - top_); }

  /// As many ticks as leave a gap of two characters between their labels.
  std::vector<double> fitting_x_ticks() const {
    for (int at_most = std::max(2, (right_ - left_) / 44); at_most > 2; --at_most) {
      const auto ticks = tick_values(chart_.x.scale, x_range_.low, x_range_.high, at_most);
      bool fits = true;
      for (size_t i = 1; i < ticks.size(); ++i) {
        const size_t chars = width_in_chars(label(chart_.x, ticks[i - 1])) + width_in_chars(label(chart_.x, ticks[i]));
        fits &= px(ticks[i]) - px(ticks[i - 1]) >= kCharWidth * (static_cast<double>(chars) / 2 + 2);
      }
      if (fits) return ticks;
    }
    return tick_values(chart_.x.scale, x_range_.low, x_range_.high, 2);
  }

  std::string axes() const {
    std::string out;
    for (const double value : y_ticks_) {
      out += fmt::format(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", left_, right_, py(value),
                         py(value));
      out += fmt::format(R"(<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>)", left_ - 8,
                         py(value) + 4.5, escape_html(label(chart_.y, value)));
    }
    out += fmt::format(R"(<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>)", left_, right_, bottom_, bottom_);
    for (const double value : x_ticks_) {
      out += fmt::format(R"(<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>)", px(value), bottom_,
                         bottom_ + 5);
      out += fmt::format(R"(<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", px(value),
                         bottom_ + 20, escape_html(label(chart_.x, value)));
    }
    if (!chart_.y.title.empty()) {
      out += fmt::format(R"(<text class="title" x="2" y="15">{}</text>)", escape_html(chart_.y.title));
    }
    if (!chart_.x.title.empty()) {
      out += fmt::format(R"(<text class="title" x="{}" y="{}" text-anchor="end">{}</text>)", right_, height_ - 8,
                         escape_html(chart_.x.title));
    }
    return out;
  }

  std::string band(const ChartSeries& series) const {
    std::string there, back;
    for (const auto& at : series.band) {
      if (!shown(chart_.x, at.x) || !shown(chart_.y, at.low) || !shown(chart_.y, at.high)) continue;
      there += fmt::format("{}{:.1f} {:.1f}", there.empty() ? "M" : "L", px(at.x), py(at.high));
      back.insert(0, fmt::format("L{:.1f} {:.1f}", px(at.x), py(at.low)));
    }
    return there.empty() ? "" : fmt::format(R"(<path class="band" d="{}{}Z"/>)", there, back);
  }

  std::string series(size_t index) const {
    const auto& series = chart_.series[index];
    std::string line, marks;
    auto values = nlohmann::json::array();
    bool pen_down = false;
    for (const auto& point : series.points) {
      const bool visible = shown(chart_.x, point.x) && shown(chart_.y, point.y);
      if (visible) {
        const double x = px(point.x), y = py(point.y);
        // A round line cap turns the zero-length segment of a lone point into a dot.
        line += pen_down ? fmt::format("L{:.1f} {:.1f}", x, y) : fmt::format("M{:.1f} {:.1f}l0 0", x, y);
        if (series.markers) marks += marker(index, x, y);
        const auto tenth = [](double v) { return std::round(10 * v) / 10; };
        values.push_back({tenth(x), tenth(y), exact(chart_.x, point.x), exact(chart_.y, point.y)});
      }
      pen_down = visible;
    }
    return fmt::format(
        R"(<g class="series {}{}" data-name="{}" data-points="{}">{}<path class="line" d="{}"/>{}</g>)",
        colour_class(series.floor_of.value_or(index)), series.floor_of ? " floor" : "", escape_html(series.name),
        escape_html(values.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)), band(series), line, marks);
  }

  std::string levels() const {
    std::string out;
    for (const auto& level : chart_.levels) {
      if (!shown(chart_.y, level.y)) continue;
      out += fmt::format(R"(<line class="level" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", left_, right_, py(level.y),
                         py(level.y));
      out += fmt::format(R"(<text class="level" x="{}" y="{:.1f}">{}</text>)", left_ + 4, py(level.y) - 5,
                         escape_html(level.label));
    }
    return out;
  }

  std::string marks() const {
    std::string out;
    for (const auto& mark : chart_.marks) {
      if (!shown(chart_.x, mark.x) || !shown(chart_.y, mark.y)) continue;
      out += fmt::format(R"(<path class="mark" d="M{:.1f} {:.1f}l-4.5 -8h9z"><title>{}</title></path>)", px(mark.x),
                         py(mark.y) - 4, escape_html(mark.label));
    }
    return out;
  }

  /// Names next to the last points, pushed apart where lines end close together.
  std::string labels() const {
    struct Label {
      double x, y;
      size_t series;
    };
    std::vector<Label> labels;
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      const auto& points = chart_.series[i].points;
      const auto last = std::find_if(points.rbegin(), points.rend(), [&](const ChartPoint& point) {
        return shown(chart_.x, point.x) && shown(chart_.y, point.y);
      });
      if (last != points.rend()) labels.push_back({px(last->x) + 9, py(last->y) + 4.5, i});
    }
    std::stable_sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
    constexpr double kLineHeight = 17;
    for (size_t i = 1; i < labels.size(); ++i) labels[i].y = std::max(labels[i].y, labels[i - 1].y + kLineHeight);
    double limit = bottom_;
    for (auto label = labels.rbegin(); label != labels.rend(); ++label, limit -= kLineHeight) {
      label->y = std::min(label->y, limit);
    }
    std::string out;
    for (const auto& at : labels) {
      out += fmt::format(R"(<text class="name {}" x="{:.1f}" y="{:.1f}">{}</text>)", colour_class(at.series), at.x,
                         at.y, escape_html(chart_.series[at.series].name));
    }
    return out;
  }

  const Chart& chart_;
  int width_, height_;
  bool direct_labels_;
  Range x_range_, y_range_;
  int left_ = 0, right_ = 0, top_ = 0, bottom_ = 0;
  std::vector<double> x_ticks_, y_ticks_;
};

/// `narrow_only`: the lines carry their names where there is room.
std::string legend(const Chart& chart, bool narrow_only) {
  std::string out = fmt::format(R"(<ul class="legend{}">)", narrow_only ? " narrow" : "");
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const auto& series = chart.series[i];
    if (series.floor_of) continue;
    out += fmt::format(
        R"(<li><svg class="key" viewBox="0 0 26 12" aria-hidden="true"><g class="series {}"><path class="line" d="M1 6H25"/>{}</g></svg>{}</li>)",
        colour_class(i), series.markers ? marker(i, 13, 6) : "", escape_html(series.name));
  }
  return out + "</ul>";
}

}  // namespace

std::vector<double> tick_values(AxisScale scale, double low, double high, int at_most) {
  if (!std::isfinite(low) || !std::isfinite(high) || low > high || (is_log(scale) && low <= 0)) return {};
  low = std::clamp(low, -kLargest, kLargest);
  high = std::clamp(high, -kLargest, kLargest);
  at_most = std::max(2, at_most);
  if (!is_log(scale)) return linear_ticks(low, high, at_most);
  low = std::max(low, kSmallest);
  high = std::max(high, kSmallest);
  const auto fits = [&](const std::vector<double>& ticks) { return ticks.size() <= static_cast<size_t>(at_most); };
  std::vector<double> ticks;
  if (scale == AxisScale::kLog10) ticks = power_ticks(10, {1, 2, 5}, 1, low, high);
  if (scale == AxisScale::kLog2 || !fits(ticks)) {
    const double base = scale == AxisScale::kLog2 ? 2 : 10;
    int stride = 1;
    do ticks = power_ticks(base, {1}, stride++, low, high);
    while (!fits(ticks));
  }
  if (ticks.size() >= 2) return ticks;
  return linear_ticks(low, high, at_most);
}

std::string render_svg(const Chart& chart, int width, int height, bool direct_labels) {
  return Drawing(chart, width, height, direct_labels).svg();
}

std::string render_chart(const Chart& chart) {
  const auto short_name = [](const ChartSeries& series) { return width_in_chars(series.name) <= 18; };
  const bool direct_labels = chart.series.size() > 1 && chart.series.size() <= 4 &&
                             std::all_of(chart.series.begin(), chart.series.end(), short_name);
  return fmt::format(
      "<div class=\"chart\">{}<div class=\"wide\">{}</div><div class=\"narrow\">{}</div>"
      "<div class=\"tip\" hidden></div></div>\n",
      chart.series.size() > 1 ? legend(chart, direct_labels) : "", render_svg(chart, 760, 360, direct_labels),
      render_svg(chart, 360, 290, false));
}

std::string render_panels(const std::vector<Panel>& panels) {
  if (panels.empty()) return "";
  std::string out = "<div class=\"chart\">" + legend(panels.front().chart, false) + "<div class=\"panels\">\n";
  for (const auto& panel : panels) {
    out += fmt::format("<div><h3>{}</h3>{}</div>\n", escape_html(panel.title),
                       render_svg(panel.chart, kPanelWidth, kPanelHeight, false));
  }
  return out + "</div><div class=\"tip\" hidden></div></div>\n";
}

std::string_view chart_style() {
  return R"CSS(.chart { position: relative; margin: 1rem 0; }
.chart svg { display: block; width: 100%; height: auto; overflow: visible; touch-action: pan-y; }
.chart div.narrow, .chart ul.narrow { display: none; }
.chart text { font: 13px system-ui, sans-serif; font-variant-numeric: tabular-nums; fill: var(--ink-soft); }
.chart .name { font-weight: 600; fill: var(--colour); paint-order: stroke; stroke: var(--ground); stroke-width: 4px; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .axis, .chart .cursor { stroke: var(--ink-soft); stroke-width: 1; }
.chart .cursor { stroke-dasharray: 3 3; }
.chart .line { fill: none; stroke: var(--colour); stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
.chart .series { fill: var(--colour); }
.chart .mark { fill: var(--alert); stroke: var(--ground); stroke-width: 1; }
.chart .band { stroke: none; opacity: .18; }
.chart .again .line { stroke-dasharray: 7 5; }
.chart .floor .line { stroke-width: 1.1; stroke-dasharray: 3 3; stroke-linecap: butt; }
.chart line.level { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 8 4; }
.chart text.level { paint-order: stroke; stroke: var(--ground); stroke-width: 4px; }
.chart .panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 1.4rem 2rem; }
.chart .panels > div { min-width: 0; max-width: 480px; }
.chart .panels h3 { font-size: .98rem; margin: 0 0 .4rem; }
.chart .s1 { --colour: var(--series-1); } .chart .s2 { --colour: var(--series-2); }
.chart .s3 { --colour: var(--series-3); } .chart .s4 { --colour: var(--series-4); }
.chart .s5 { --colour: var(--series-5); } .chart .s6 { --colour: var(--series-6); }
.chart .legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0 0 .6rem; padding: 0;
  font-size: .9rem; }
.chart .legend li { display: flex; align-items: center; gap: .4rem; overflow-wrap: anywhere; }
.chart .legend .key { flex: none; width: 26px; }
.chart .tip { position: absolute; z-index: 1; pointer-events: none; padding: .35rem .6rem; border-radius: 6px;
  border: 1px solid var(--line); background: var(--ground); color: var(--ink); font-size: .82rem; line-height: 1.45;
  font-variant-numeric: tabular-nums; box-shadow: 0 2px 10px rgb(0 0 0 / .16); max-width: 60%; }
.chart .tip[hidden] { display: none; }
@media (max-width: 640px) {
  .chart div.wide { display: none; }
  .chart div.narrow { display: block; max-width: 480px; }
  .chart ul.narrow { display: flex; }
}
)CSS";
}

std::string_view chart_script() {
  return R"JS(function watchCharts(root) {
for (const chart of root.querySelectorAll('.chart:not(.heat)')) {
  const tip = chart.querySelector('.tip');
  for (const svg of chart.querySelectorAll('div > svg')) {
    const box = svg.viewBox.baseVal;
    const series = [...svg.querySelectorAll('.series')].map(
        (g) => ({name: g.dataset.name, points: JSON.parse(g.dataset.points)}));
    const cursor = svg.insertBefore(document.createElementNS(svg.namespaceURI, 'line'), svg.firstChild);
    cursor.setAttribute('class', 'cursor');
    const hide = () => { tip.hidden = true; cursor.style.display = 'none'; };
    hide();
    svg.addEventListener('pointerleave', hide);
    svg.addEventListener('pointermove', (event) => {
      const rect = svg.getBoundingClientRect();
      const x = (event.clientX - rect.left) * box.width / rect.width;
      const near = series.map((s) => s.points.reduce(
          (best, p) => !best || Math.abs(p[0] - x) < Math.abs(best[0] - x) ? p : best, null));
      const at = near.filter(Boolean).sort((a, b) => Math.abs(a[0] - x) - Math.abs(b[0] - x))[0];
      if (!at) return;
      const lines = [at[2]];
      near.forEach((p, i) => { if (p && Math.abs(p[0] - at[0]) < 4) lines.push(series[i].name + ': ' + p[3]); });
      tip.replaceChildren(...lines.map((text) => {
        const line = document.createElement('div');
        line.textContent = text;
        return line;
      }));
      for (const [name, value] of [['x1', at[0]], ['x2', at[0]], ['y1', 30], ['y2', box.height - 48]]) {
        cursor.setAttribute(name, value);
      }
      cursor.style.display = '';
      tip.hidden = false;
      const outer = chart.getBoundingClientRect();
      const left = rect.left - outer.left + at[0] * rect.width / box.width;
      tip.style.left = Math.max(0, left > outer.width / 2 ? left - tip.offsetWidth - 12 : left + 12) + 'px';
      tip.style.top = (rect.top - outer.top + 34) + 'px';
    });
  }
}
}
watchCharts(document);
)JS";
}

}  // namespace lt2
