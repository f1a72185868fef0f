#include "report/chart.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "report/html.h"

namespace lt2 {
namespace {

void expect_ticks(const std::vector<double>& ticks, const std::vector<double>& expected) {
  ASSERT_EQ(ticks.size(), expected.size());
  for (size_t i = 0; i < ticks.size(); ++i) EXPECT_NEAR(ticks[i], expected[i], 1e-9 * std::abs(expected[i]));
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

Chart two_lines() {
  Chart chart;
  chart.description = "speed against context";
  chart.x = {.title = "context", .scale = AxisScale::kLog2, .snug = true, .tick_label = format_context};
  chart.y = {.title = "tokens per second", .from_zero = true};
  chart.series = {{.name = "full", .points = {{1024, 90}, {2048, 60}, {4096, 30}}, .markers = true},
                  {.name = "hybrid", .points = {{1024, 95}, {2048, 90}, {4096, 85}}, .markers = true}};
  return chart;
}

TEST(ChartTicks, LinearStepsAreOneTwoFive) {
  expect_ticks(tick_values(AxisScale::kLinear, 0, 1, 6), {0, .2, .4, .6, .8, 1});
  expect_ticks(tick_values(AxisScale::kLinear, 1, 300, 5), {100, 200, 300});
  expect_ticks(tick_values(AxisScale::kLinear, 1, 300, 7), {50, 100, 150, 200, 250, 300});
  expect_ticks(tick_values(AxisScale::kLinear, -3, 3, 3), {-2, 0, 2});
  expect_ticks(tick_values(AxisScale::kLinear, 1.7, 5.6, 8), {2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5});
}

TEST(ChartTicks, Log2PowersAndStrides) {
  expect_ticks(tick_values(AxisScale::kLog2, 1024, 32768, 6), {1024, 2048, 4096, 8192, 16384, 32768});
  expect_ticks(tick_values(AxisScale::kLog2, 1024, 32768, 3), {1024, 4096, 16384});
  expect_ticks(tick_values(AxisScale::kLog2, 1100, 1900, 4), {1200, 1400, 1600, 1800});  // no power inside: linear
}

TEST(ChartTicks, Log10DecadesAndParts) {
  expect_ticks(tick_values(AxisScale::kLog10, 1, 100, 8), {1, 2, 5, 10, 20, 50, 100});
  expect_ticks(tick_values(AxisScale::kLog10, 1, 1e6, 8), {1, 10, 100, 1e3, 1e4, 1e5, 1e6});
  expect_ticks(tick_values(AxisScale::kLog10, 1, 1e12, 5), {1, 1e3, 1e6, 1e9, 1e12});
}

TEST(ChartTicks, HostileRangesStayFiniteAndFew) {
  const double inf = std::numeric_limits<double>::infinity(), huge = std::numeric_limits<double>::max();
  for (const auto scale : {AxisScale::kLinear, AxisScale::kLog2, AxisScale::kLog10}) {
    EXPECT_TRUE(tick_values(scale, NAN, 1, 5).empty());
    EXPECT_TRUE(tick_values(scale, 1, inf, 5).empty());
    EXPECT_TRUE(tick_values(scale, 2, 1, 5).empty());
    const double lowest = scale == AxisScale::kLinear ? -huge : 1e-320;
    for (const auto& [low, high] :
         {std::pair{lowest, huge}, {1.0, huge}, {7.0, 7.0}, {1e16, 1e16 + 2}, {1.0, 1 + 1e-15}}) {
      for (const int at_most : {-1, 2, 5, 40}) {
        const auto ticks = tick_values(scale, low, high, at_most);
        EXPECT_LE(ticks.size(), static_cast<size_t>(std::max(2, at_most))) << low << " " << high;
        EXPECT_TRUE(std::all_of(ticks.begin(), ticks.end(), [](double t) { return std::isfinite(t); }));
        EXPECT_TRUE(std::is_sorted(ticks.begin(), ticks.end()));
      }
    }
  }
  EXPECT_TRUE(tick_values(AxisScale::kLog2, 0, 1, 5).empty());
}

TEST(Chart, DrawsEverySeriesWithItsNameAndMarkers) {
  const auto svg = render_svg(two_lines(), 760, 360, true);
  EXPECT_EQ(count(svg, "class=\"series s1\""), 1u);
  EXPECT_EQ(count(svg, "class=\"series s2\""), 1u);
  EXPECT_EQ(count(svg, "<circle"), 3u);
  EXPECT_EQ(count(svg, "<rect"), 3u);
  EXPECT_NE(svg.find(">hybrid</text>"), std::string::npos);
  EXPECT_NE(svg.find(">4k</text>"), std::string::npos);
  EXPECT_NE(svg.find("aria-label=\"speed against context\""), std::string::npos);
}

TEST(Chart, LabelsOfLinesThatEndTogetherDoNotOverlap) {
  Chart chart;
  for (const char* name : {"a", "b", "c", "d"}) chart.series.push_back({.name = name, .points = {{0, 0}, {1, 1}}});
  const auto svg = render_svg(chart, 760, 360, true);
  std::vector<double> heights;
  for (size_t at = svg.find("class=\"name"); at != std::string::npos; at = svg.find("class=\"name", at + 1)) {
    heights.push_back(std::stod(svg.substr(svg.find(" y=\"", at) + 4)));
  }
  ASSERT_EQ(heights.size(), 4u);
  for (size_t i = 1; i < heights.size(); ++i) EXPECT_GE(heights[i] - heights[i - 1], 15);
}

TEST(Chart, LegendOnlyWhereLinesAreNotLabelled) {
  auto chart = two_lines();
  EXPECT_NE(render_chart(chart).find("legend narrow"), std::string::npos);
  chart.series[0].name = "a source with quite a long name";
  EXPECT_NE(render_chart(chart).find("<ul class=\"legend\">"), std::string::npos);
  chart.series.pop_back();
  EXPECT_EQ(render_chart(chart).find("legend"), std::string::npos);
}

TEST(Chart, HostileValuesBreakTheLineAndNothingElse) {
  auto chart = two_lines();
  const double inf = std::numeric_limits<double>::infinity();
  chart.series[0].points = {{1024, 1}, {2048, NAN}, {4096, 2}, {8192, inf}, {-1, 3}, {0, 3}, {NAN, 1}, {16384, 1e308}};
  chart.series[0].band = {{1024, NAN, 2}, {2048, -inf, inf}};
  chart.series.push_back({.name = "none"});
  for (const auto scale : {AxisScale::kLinear, AxisScale::kLog2, AxisScale::kLog10}) {
    chart.y.scale = scale;
    auto svg = render_chart(chart);
    std::transform(svg.begin(), svg.end(), svg.begin(), [](unsigned char c) { return std::tolower(c); });
    for (const char* word : {"nan", "inf", "null"}) EXPECT_EQ(svg.find(word), std::string::npos) << word;
  }
  const auto svg = render_svg(chart, 760, 360, true);
  const auto line =
      svg.substr(svg.find("class=\"line\""), svg.find("/>", svg.find("class=\"line\"")) - svg.find("class=\"line\""));
  EXPECT_EQ(count(line, "M"), 2u);  // the points beside the gaps stay; 1e308 has no place
}

TEST(Chart, EmptyAndConstantDataDraw) {
  Chart chart;
  EXPECT_NE(render_chart(chart).find("</svg>"), std::string::npos);
  chart.series = {{.name = "one", .points = {{5, 5}}}};
  EXPECT_NE(render_chart(chart).find("l0 0"), std::string::npos);
  chart.x.scale = chart.y.scale = AxisScale::kLog10;
  EXPECT_NE(render_chart(chart).find("l0 0"), std::string::npos);
}

TEST(Chart, EscapesNames) {
  auto chart = two_lines();
  chart.series[0].name = "<img src=x>\"'&";
  chart.x.title = chart.description = "</svg><script>";
  const auto out = render_chart(chart);
  EXPECT_EQ(out.find("<img"), std::string::npos);
  EXPECT_EQ(out.find("<script"), std::string::npos);
  EXPECT_NE(out.find("&lt;img src=x&gt;&quot;&#39;&amp;"), std::string::npos);
}

TEST(Chart, ColoursRepeatDashed) {
  Chart chart;
  for (int i = 0; i < 7; ++i) chart.series.push_back({.name = std::to_string(i), .points = {{0, 0}, {1, 1}}});
  EXPECT_NE(render_svg(chart, 400, 300, false).find("series s1 again"), std::string::npos);
}

}  // namespace
}  // namespace lt2
