#pragma once
// A table of numbers as shades: rows by columns of steps, the stronger the colour, the more.
#include <string>
#include <string_view>
#include <vector>

namespace lt2 {

struct HeatMap {
  std::string description;  // one sentence for readers who cannot see the picture
  std::string x_title;
  std::vector<std::string> rows;            // names, from top to bottom
  std::vector<double> x;                    // ascending: where the columns' values were measured
  std::vector<std::vector<double>> values;  // [row][column]; shades follow the logarithm, what is not above 0 is blank
};

/// For a page, wide and narrow as render_chart; columns that would be narrower than a few units are joined and show
/// the largest of their values. Empty if there is no value to show.
std::string render_heat_map(const HeatMap& map);

/// Rules that render_heat_map's output needs besides chart_style().
std::string_view heat_map_style();

}  // namespace lt2
