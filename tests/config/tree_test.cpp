#include "config/tree.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

std::string message(const std::string& yaml) {
  return test::error_of([&] {
    auto tree = parse_yaml(yaml, "f.yaml");
    resolve_references(tree);
  });
}

// A scalar of the text as YAML reads it, quotes included.
ConfigTree scalar(const std::string& yaml) { return *parse_yaml("x: " + yaml, "f.yaml").find("x"); }

struct Typed {
  std::string yaml;
  std::optional<int64_t> whole;
  std::optional<double> real;
  std::optional<bool> truth;
  std::optional<std::string> text;
};
std::ostream& operator<<(std::ostream& stream, const Typed& typed) { return stream << typed.yaml; }

class ConfigScalar : public ::testing::TestWithParam<Typed> {};

TEST_P(ConfigScalar, MeansWhatTheFieldsTypeSays) {
  const auto& want = GetParam();
  const auto value = scalar(want.yaml);
  EXPECT_EQ(as_int(value), want.whole) << want.yaml;
  const auto real = as_float(value);
  ASSERT_EQ(real.has_value(), want.real.has_value()) << want.yaml;
  if (real) {
    EXPECT_TRUE(*real == *want.real || (std::isnan(*real) && std::isnan(*want.real))) << want.yaml << " gave " << *real;
  }
  EXPECT_EQ(as_bool(value), want.truth) << want.yaml;
  EXPECT_EQ(as_text(value), want.text) << want.yaml;
}

const auto kNo = std::nullopt;
INSTANTIATE_TEST_SUITE_P(
    Table, ConfigScalar,
    ::testing::Values(
        Typed{"5", 5, 5.0, true, "5"}, Typed{"0", 0, 0.0, false, "0"}, Typed{"-7", -7, -7.0, true, "-7"},
        Typed{"+7", 7, 7.0, true, "7"}, Typed{"60_000", 60000, 60000.0, true, "60000"},
        Typed{"0x1F", 31, 31.0, true, "31"}, Typed{"0b11", 3, 3.0, true, "3"}, Typed{"010", 8, 8.0, true, "8"},
        Typed{"0o17", kNo, kNo, kNo, "0o17"}, Typed{"09", kNo, 9.0, kNo, "09"},
        Typed{"9223372036854775807", INT64_MAX, 9223372036854775807.0, true, "9223372036854775807"},
        Typed{"-9223372036854775808", INT64_MIN, -9223372036854775808.0, true, "-9223372036854775808"},
        Typed{"9223372036854775808", kNo, 9223372036854775808.0, kNo, "9223372036854775808"},
        Typed{"\"12\"", 12, 12.0, true, "12"}, Typed{"\"010\"", 10, 10.0, true, "010"},
        Typed{"\"0x1F\"", kNo, kNo, kNo, "0x1F"}, Typed{"\"0\"", 0, 0.0, false, "0"},
        Typed{"1.0", kNo, 1.0, kNo, "1.0"}, Typed{"1e3", kNo, 1000.0, kNo, "1000.0"},
        Typed{"3e-4", kNo, 3e-4, kNo, "0.0003"}, Typed{"1e-3", kNo, 1e-3, kNo, "0.001"},
        Typed{"1e5", kNo, 1e5, kNo, "100000.0"}, Typed{"1e-5", kNo, 1e-5, kNo, "1e-05"},
        Typed{".5", kNo, 0.5, kNo, "0.5"}, Typed{"1_000.5", kNo, 1000.5, kNo, "1000.5"},
        Typed{"1.5e+3", kNo, 1500.0, kNo, "1500.0"}, Typed{"inf", kNo, INFINITY, kNo, "inf"},
        Typed{"-.inf", kNo, -INFINITY, kNo, "-inf"}, Typed{"nan", kNo, NAN, kNo, "nan"},
        Typed{".NaN", kNo, NAN, kNo, "nan"}, Typed{"Infinity", kNo, INFINITY, kNo, "Infinity"},
        Typed{"true", kNo, kNo, true, "True"}, Typed{"FALSE", kNo, kNo, false, "False"},
        Typed{"Yes", kNo, kNo, true, "True"}, Typed{"off", kNo, kNo, false, "False"},
        Typed{"tRuE", kNo, kNo, true, "tRuE"}, Typed{"\"on\"", kNo, kNo, true, "on"},
        Typed{"maybe", kNo, kNo, kNo, "maybe"}, Typed{"2024-01-01", kNo, kNo, kNo, "2024-01-01"},
        Typed{"1.2.3", kNo, kNo, kNo, "1.2.3"}, Typed{"4:1", 241, 241.0, true, "4:1"},
        Typed{"1:0", 60, 60.0, true, "1:0"}, Typed{"0:1", kNo, kNo, kNo, "0:1"}, Typed{"\"4:1\"", kNo, kNo, kNo, "4:1"},
        Typed{"null", kNo, kNo, kNo, kNo}, Typed{"~", kNo, kNo, kNo, kNo}, Typed{"", kNo, kNo, kNo, kNo},
        Typed{"\"null\"", kNo, kNo, kNo, "null"}, Typed{"\"\"", kNo, kNo, kNo, ""}, Typed{"!!str 5", 5, 5.0, true, "5"},
        Typed{"[1, 2]", kNo, kNo, kNo, kNo}, Typed{"{a: 1}", kNo, kNo, kNo, kNo}, Typed{"'-'", kNo, kNo, kNo, "-"},
        Typed{"_1", kNo, kNo, kNo, "_1"}));

TEST(ConfigTree, RemembersLines) {
  const auto tree = parse_yaml("a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - 4\n", "f.yaml");
  EXPECT_EQ(tree.find("a")->origin, "f.yaml:1");
  EXPECT_EQ(tree.find("b")->find("c")->origin, "f.yaml:3");
  EXPECT_EQ(tree.find("b")->find("d")->items[1].origin, "f.yaml:6");
}

TEST(ConfigTree, MergesMapsAndReplacesListsWhole) {
  auto base = parse_yaml("a: {x: 1, y: 2}\nl: [1, 2, 3]\n", "f");
  merge(base, parse_yaml("a: {y: 5, z: 6}\nl: [9]\n", "g"));
  EXPECT_EQ(base, parse_yaml("a: {x: 1, y: 5, z: 6}\nl: [9]\n", "h"));
}

TEST(ConfigTree, AnchorsAliasesAndMergeKeys) {
  const auto tree = parse_yaml("a: &base {x: 1, y: 2}\nb: *base\nc:\n  <<: *base\n  y: 3\n", "f");
  EXPECT_EQ(*tree.find("b"), *tree.find("a"));
  EXPECT_EQ(as_int(*tree.find("c")->find("x")), 1);
  EXPECT_EQ(as_int(*tree.find("c")->find("y")), 3);
}

TEST(ConfigTree, References) {
  auto tree = parse_yaml(
      "n: run\nd: /tmp/${n}/${g.size}\ng:\n  size: 4\n  same: ${.size}\n  up: ${..n}\n  whole: ${g2}\ng2: {k: "
      "'${n}'}\nraw: \\${n}\n",
      "f");
  resolve_references(tree);
  EXPECT_EQ(as_text(*tree.find("d")), "/tmp/run/4");
  EXPECT_EQ(as_int(*tree.find("g")->find("same")), 4);
  EXPECT_EQ(as_text(*tree.find("g")->find("up")), "run");
  EXPECT_EQ(as_text(*tree.find("g")->find("whole")->find("k")), "run");
  EXPECT_EQ(as_text(*tree.find("raw")), "${n}");
}

TEST(ConfigTree, Errors) {
  EXPECT_EQ(message("a: 1\nb: 2\na: 3\n"), "f.yaml:3: key a appears twice; first at f.yaml:1");
  EXPECT_EQ(message("a: [1\nb: 2\n").substr(0, 9), "f.yaml:2:") << message("a: [1\nb: 2\n");
  EXPECT_NE(message("a: ${b}\nb: ${a}\n").find("form a circle"), std::string::npos);
  EXPECT_EQ(message("a: 1\nb: ${c.d}\n"), "f.yaml:2: ${c.d} names no key");
  EXPECT_EQ(message("b: ${oc.env:HOME}\n"),
            "f.yaml:1: ${oc.env:HOME} calls a resolver; only the names of other keys are known here");
  EXPECT_EQ(message("b: ${c\n"), "f.yaml:1: ${c lacks a closing brace");
  EXPECT_EQ(message("b: ${...c}\n"), "f.yaml:1: ${...c} climbs above the root");
  EXPECT_EQ(message("a: 1\n---\nb: 1\n"), "f.yaml:2: not valid YAML: text after the end of the value");
  EXPECT_NE(message("a: &a [*a, *a]\n"), "");
  EXPECT_EQ(message(",]#>"), "f.yaml:1: not valid YAML: text after the end of the value");
}

TEST(ConfigTree, WritesTextThatReadsBackAsText) {
  for (const std::string text : {"",
                                 "null",
                                 "~",
                                 "true",
                                 "Yes",
                                 "y",
                                 "12",
                                 "0x1F",
                                 "1e5",
                                 "4:1",
                                 "1:0",
                                 "inf",
                                 "2024-01-01",
                                 "a: b",
                                 "a #b",
                                 "- x",
                                 "it's",
                                 "a\nb\t\"c\"",
                                 "layers\\.[0-9]+\\.",
                                 "interleaved:4:1:gdn:full",
                                 "end:",
                                 " pad ",
                                 "{x}",
                                 "[x]",
                                 "&a",
                                 "*a",
                                 "!t",
                                 "%d",
                                 "@x",
                                 "`x`",
                                 "ü",
                                 "=",
                                 "<<",
                                 "${x"}) {
    auto map = ConfigTree::map();
    map.at("k") = ConfigTree::quoted(text);
    for (const auto& written : {write_yaml(map), write_json(map)}) {
      const auto again = parse_yaml(written, "w");
      ASSERT_TRUE(again.find("k")) << written;
      EXPECT_EQ(as_text(*again.find("k")), text) << written;
      EXPECT_EQ(canonical(*again.find("k")).kind, ConfigTree::Kind::kQuoted) << written;
    }
  }
}

TEST(ConfigTree, WritesBlocks) {
  const auto tree =
      canonical(parse_yaml("a: {b: 1e-5, c: [x, {t: nq_open, k: 5}], d: {}, e: []}\nf: no\n'4:1': 4:1\ng:\n", "f"));
  EXPECT_EQ(write_yaml(tree),
            "a:\n  b: 1.0e-05\n  c:\n    - x\n    - t: nq_open\n      k: 5\n  d: {}\n  e: []\nf: false\n'4:1': "
            "'4:1'\ng: null\n");
  EXPECT_EQ(canonical(parse_yaml(write_yaml(tree), "w")), tree);
  EXPECT_EQ(canonical(parse_yaml(write_json(tree), "w")), tree);
}

TEST(ConfigTree, FloatsKeepAllDigits) {
  for (const double value : {0.1, 1.0 / 3.0, 1e-5, 1e22, 1e16, 10000.0, -2.5e-300, 5e-324, 1.7976931348623157e308}) {
    EXPECT_EQ(as_float(ConfigTree::plain(float_text(value))), value);
  }
  EXPECT_EQ(float_text(10000.0), "10000.0");
  EXPECT_EQ(float_text(1e-5), "1e-05");
  EXPECT_EQ(float_text(1e16), "1e+16");
}

}  // namespace
}  // namespace lt2
