#include "report/heat_map.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lt2 {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(HeatMap, StrongerForMoreBlankForNothing) {
  const auto html = render_heat_map({.description = "d",
                                     .x_title = "training step",
                                     .rows = {"output", "embedding"},
                                     .x = {1, 2, 3},
                                     .values = {{1, NAN, 100}, {0, -1, 100}}});
  // Wide and narrow: one cell of 1, two of 100 in one path, the key's 16 shades once.
  EXPECT_EQ(count(html, "class=\"cell\""), 2 * 2u + 16u);
  EXPECT_EQ(count(html, ">embedding</text>"), 2u);
  EXPECT_EQ(count(html, "<span>1.00</span>"), 1u);
  EXPECT_EQ(count(html, "<span>100</span>"), 1u);
}

TEST(HeatMap, NothingToShowIsNothing) {
  EXPECT_EQ(render_heat_map({}), "");
  EXPECT_EQ(render_heat_map({.rows = {"a"}, .x = {1}, .values = {{0}}}), "");
  EXPECT_EQ(render_heat_map({.rows = {"a"}, .x = {1}, .values = {{INFINITY}}}), "");
  EXPECT_NE(render_heat_map({.rows = {"a"}, .x = {1}, .values = {{1e-40}}}), "");
}

TEST(HeatMap, LongRunsAreJoinedAndKeepTheirPeaks) {
  HeatMap map{.description = "d", .x_title = "step", .rows = {"<b>&"}, .x = {}, .values = {{}}};
  for (int i = 0; i < 100'000; ++i) {
    map.x.push_back(i);
    map.values[0].push_back(i == 70'000 ? 1000 : 1 + 0.5 * std::sin(i));
  }
  const auto html = render_heat_map(map);
  EXPECT_LT(html.size(), 20'000u);
  EXPECT_EQ(count(html, "fill-opacity=\"1.00\""), 3u);  // in the key, and the peak in both drawings
  EXPECT_EQ(html.find("<b>"), std::string::npos);
}

}  // namespace
}  // namespace lt2
