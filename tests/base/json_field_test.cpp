#include "base/json_field.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

using test::error_of;

TEST(JsonField, ErrorsNameFileFieldExpectedAndFound) {
  const auto document = parse_json(
      R"({"step": -5, "text": "x", "many": [1, {"deep": 1.5}], "huge": 18446744073709551615, "none": null})", "f.json");
  const JsonField root(document, "f.json");
  EXPECT_EQ(error_of([&] { root.at("step").integer(0, 9); }), "f.json: step: expected 0 to 9, found -5");
  EXPECT_EQ(error_of([&] { root.at("huge").integer(0, 9); }),
            "f.json: huge: expected 0 to 9, found 18446744073709551615");
  EXPECT_EQ(error_of([&] { root.at("text").integer(0, 9); }),
            "f.json: text: expected a whole number, found string \"x\"");
  EXPECT_EQ(error_of([&] { root.at("many").at(1).at("deep").integer(0, 9); }),
            "f.json: many[1].deep: expected a whole number, found number 1.5");
  EXPECT_EQ(error_of([&] { root.at("many").text(); }), "f.json: many: expected a text, found array");
  EXPECT_EQ(error_of([&] { root.at("none").number(); }), "f.json: none: expected a number, found null");
  EXPECT_EQ(error_of([&] { root.at("missing"); }), "f.json: no \"missing\" here");
  EXPECT_EQ(error_of([&] { root.at("text").at("x"); }), "f.json: text: expected an object, found string \"x\"");
  EXPECT_EQ(root.integer("none", 0, 9, 7), 7);
  EXPECT_EQ(root.at("many").at(1).at("deep").number(), 1.5);
}

TEST(JsonField, TextThatIsNoJsonOrTooDeep) {
  EXPECT_EQ(error_of([] { parse_json("[1, 2", "f.json"); }).rfind("f.json: no JSON: ", 0), 0u);
  EXPECT_EQ(error_of([] { parse_json(std::string(100, '['), "f.json"); }), "f.json: nested more than 64 deep");
  EXPECT_EQ(error_of([] { parse_json("\"\xff\"", "f.json"); }).rfind("f.json: no JSON: ", 0), 0u);
}

}  // namespace
}  // namespace lt2
