// What jinja2 makes of a few hundred templates: scripts/make-template-fixtures.py.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/template/support.h"

namespace lt2 {
namespace {

using test::fixtures;

class TemplateFixtures : public ::testing::TestWithParam<const char*> {};

TEST_P(TemplateFixtures, RenderAsJinja2Does) {
  const auto file = fixtures(GetParam());
  int cases = 0;
  for (const auto& fixture : file["templates"]) {
    const auto& expected = fixture["cases"];
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto found = test::rendered(fixture, file["variables"][i]);
      const std::string where = fixture["name"].get<std::string>() + ", case " + std::to_string(i);
      ++cases;
      if (expected[i].contains("error")) {
        EXPECT_TRUE(found.failed) << where << ": jinja2 fails here, found " << found.text;
        EXPECT_NE(found.text.find(expected[i]["error"].get<std::string>()), std::string::npos)
            << where << ": " << found.text;
        EXPECT_TRUE(found.text.starts_with("fixture:")) << where << ": " << found.text;
        EXPECT_EQ(found.text.find('\n'), std::string::npos) << where << ": " << found.text;
      } else {
        EXPECT_FALSE(found.failed) << where << ": " << found.text << "\n" << fixture["template"];
        if (found.failed) continue;
        EXPECT_EQ(found.text, expected[i]["output"].get<std::string>()) << where << "\n" << fixture["template"];
      }
    }
  }
  EXPECT_GT(cases, 100);
}

INSTANTIATE_TEST_SUITE_P(Files, TemplateFixtures, ::testing::Values("chat", "edges", "tasks"),
                         [](const auto& file) { return std::string(file.param); });

}  // namespace
}  // namespace lt2
