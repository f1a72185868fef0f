#include "report/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "report/chart.h"
#include "report/html.h"

namespace lt2 {
namespace {

constexpr int kShades = 16;
constexpr double kSmallest = 1e-300, kLargest = 1e300;
constexpr double kCharWidth = 8.2;  // of the 13-unit label font, generous

bool shown(double value) { return value >= kSmallest && value <= kLargest; }

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = 0;
};

Range range_of(const HeatMap& map) {
  Range range;
  for (const auto& row : map.values) {
    for (const double value : row) {
      if (!shown(value)) continue;
      range.low = std::min(range.low, value);
      range.high = std::max(range.high, value);
    }
  }
  return range;
}

/// 0 to kShades - 1.
int shade_of(const Range& range, double value) {
  if (range.high <= range.low) return kShades - 1;
  const double t = std::log(value / range.low) / std::log(range.high / range.low);
  return std::clamp(static_cast<int>(t * kShades), 0, kShades - 1);
}

double opacity_of(int shade) { return 0.06 + 0.94 * shade / (kShades - 1); }

/// The row's largest value that can be shown, 0 if there is none: a jump must not drown in its neighbours.
double largest(const std::vector<double>& row, size_t begin, size_t end) {
  double out = 0;
  for (size_t i = begin; i < std::min(end, row.size()); ++i) {
    if (shown(row[i])) out = std::max(out, row[i]);
  }
  return out;
}

std::string picture(const HeatMap& map, const Range& range, int width, double row_height, double least_column) {
  size_t longest = 1;
  for (const auto& name : map.rows) longest = std::max(longest, name.size());
  const double left = 10 + kCharWidth * static_cast<double>(std::min<size_t>(longest, 24)), right = width - 4;
  const double top = 4, bottom = top + row_height * static_cast<double>(map.rows.size());
  const auto most = static_cast<size_t>(std::max(1.0, (right - left) / least_column));
  const size_t joined = (map.x.size() + most - 1) / most;
  const size_t columns = (map.x.size() + joined - 1) / joined;
  const double column_width = (right - left) / static_cast<double>(columns);

  // One path a shade: thousands of cells stay small, and neighbours leave no seam.
  std::array<std::string, kShades> paths;
  std::string names;
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const double y = top + row_height * static_cast<double>(r);
    names += fmt::format(R"(<text class="tick" x="{:.0f}" y="{:.1f}" text-anchor="end">{}</text>)", left - 8,
                         y + row_height / 2 + 4.5, escape_html(map.rows[r]));
    std::vector<int> shades(columns);
    for (size_t c = 0; c < columns; ++c) {
      const double value = largest(map.values[r], c * joined, (c + 1) * joined);
      shades[c] = shown(value) ? shade_of(range, value) : -1;
    }
    for (size_t c = 0; c < columns;) {
      const int shade = shades[c];
      size_t end = c + 1;
      while (end < columns && shades[end] == shade) ++end;
      if (shade >= 0) {
        paths[static_cast<size_t>(shade)] += fmt::format(
            "M{:.1f} {:.1f}h{:.1f}v{:.1f}H{:.1f}z", left + column_width * static_cast<double>(c), y + 0.5,
            column_width * static_cast<double>(end - c), row_height - 1, left + column_width * static_cast<double>(c));
      }
      c = end;
    }
  }

  const double height = bottom + 46;
  std::string out = fmt::format(R"(<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">)", width, height,
                                escape_html(map.description));
  for (int shade = 0; shade < kShades; ++shade) {
    const auto& path = paths[static_cast<size_t>(shade)];
    if (path.empty()) continue;
    out += fmt::format(R"(<path class="cell" fill-opacity="{:.2f}" d="{}"/>)", opacity_of(shade), path);
  }
  out += names;
  // Columns stand for measurements, evenly: a tick names the measurement under it.
  const size_t ticks = std::min<size_t>(columns, width > 500 ? 6 : 4);
  for (size_t i = 0; i < ticks; ++i) {
    const size_t column = ticks == 1 ? 0 : i * (columns - 1) / (ticks - 1);
    const double x = left + column_width * (static_cast<double>(column) + 0.5);
    const char* anchor = i == 0 ? "start" : i + 1 == ticks ? "end" : "middle";
    const double at = i == 0 ? left : i + 1 == ticks ? right : x;
    const size_t measurement = i + 1 == ticks ? map.x.size() - 1 : column * joined;
    out += fmt::format(R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>)", at, bottom + 18,
                       anchor, escape_html(format_tick(map.x[measurement])));
  }
  out += fmt::format(R"(<text class="title" x="{:.0f}" y="{:.1f}" text-anchor="end">{}</text>)", right, bottom + 38,
                     escape_html(map.x_title));
  return out + "</svg>";
}

std::string key(const Range& range) {
  std::string out = fmt::format("<p class=\"scale soft\"><span>{}</span>", format_number(range.low));
  out += R"(<svg viewBox="0 0 160 12" aria-hidden="true">)";
  for (int shade = 0; shade < kShades; ++shade) {
    out += fmt::format(R"(<path class="cell" fill-opacity="{:.2f}" d="M{} 0h10v12h-10z"/>)", opacity_of(shade),
                       10 * shade);
  }
  return out + fmt::format("</svg><span>{}</span></p>", format_number(range.high));
}

}  // namespace

std::string render_heat_map(const HeatMap& map) {
  const auto range = range_of(map);
  if (range.high <= 0 || map.x.empty()) return "";
  const double rows = static_cast<double>(map.rows.size());
  const double row_height = std::clamp(320 / rows, 15.0, 24.0);
  return fmt::format("<div class=\"chart heat\">{}<div class=\"wide\">{}</div><div class=\"narrow\">{}</div></div>\n",
                     key(range), picture(map, range, 760, row_height, 5), picture(map, range, 360, row_height, 4));
}

std::string_view heat_map_style() {
  return R"CSS(.heat .cell { fill: var(--series-1); }
.heat .scale { display: flex; align-items: center; gap: .6rem; margin: 0 0 .5rem; font-variant-numeric: tabular-nums; }
.heat .scale svg { width: 160px; height: 12px; border-radius: 3px; overflow: hidden; }
)CSS";
}

}  // namespace lt2
