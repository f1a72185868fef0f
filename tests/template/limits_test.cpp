// Templates that mean harm end with an error of one line, soon and without a deep stack.
#include <gtest/gtest.h>

#include <ctime>
#include <functional>

#include "tests/template/support.h"

namespace lt2 {
namespace {

using test::rendered;

std::string repeated(const std::string& what, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += what;
  return out;
}

std::string around(const std::string& open, const std::string& middle, const std::string& close, int times) {
  return repeated(open, times) + middle + repeated(close, times);
}

struct Case {
  const char* name;
  std::string source;
  const char* error;
};
std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

class HostileTemplate : public ::testing::TestWithParam<Case> {};

TEST_P(HostileTemplate, EndsWithAnError) {
  const std::clock_t start = std::clock();  // processor time: a busy machine does not count
  const auto found = rendered(GetParam().source, {}, {{"x", "text"}, {"l", {1, 2, 3}}});
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_TRUE(found.failed) << found.text.substr(0, 200);
  EXPECT_NE(found.text.find(GetParam().error), std::string::npos) << found.text.substr(0, 500);
  EXPECT_TRUE(found.text.starts_with("fixture:")) << found.text.substr(0, 200);
  EXPECT_LT(found.text.size(), 2100u);
  EXPECT_LT(seconds, 20);
}

const char kDeep[] = "nested deeper than the 200 levels";
const char kTree[] = "an expression of more than the 200 levels";
const char kSteps[] = "more than the 10000000 steps";
const char kBytes[] = "the limit is 16777216";
const char kCalls[] = "deeper than 200 levels";
const char kValues[] = "values lie in each other at most 200 deep";

std::vector<Case> too_deep() {
  const std::string print = "{{ ", end = " }}";
  return {
      {"parentheses", print + around("(", "1", ")", 10'000) + end, kDeep},
      {"lists", print + around("[", "1", "]", 10'000) + end, kDeep},
      {"dicts", print + around("{1:", "1", "}", 10'000) + end, kDeep},
      {"calls", print + around("range(", "1", ")", 10'000) + end, kDeep},
      {"indices", print + around("l[", "1", "]", 10'000) + end, kDeep},
      {"minuses", print + repeated("-", 10'000) + "1" + end, kDeep},
      {"nots", print + repeated("not ", 10'000) + "1" + end, kDeep},
      {"conditions", print + repeated("1 if 0 else ", 10'000) + "2" + end, kDeep},
      {"ifs", around("{% if x %}", "", "{% endif %}", 10'000), kDeep},
      {"fors", around("{% for x in l %}", "", "{% endfor %}", 10'000), kDeep},
      {"macros", around("{% macro m() %}", "", "{% endmacro %}", 10'000), kDeep},
      {"targets", "{% for " + around("(", "a", ")", 10'000) + " in l %}{% endfor %}", kDeep},
      {"sums", print + "1" + repeated(" + 1", 100'000) + end, kTree},
      {"powers", print + "1" + repeated(" ** 1", 100'000) + end, kTree},
      {"ors", print + "0" + repeated(" or 0", 100'000) + end, kTree},
      {"attributes", print + "x" + repeated(".y", 100'000) + end, kTree},
      {"filters", print + "x" + repeated("|upper", 100'000) + end, kTree},
      {"tests", print + "x" + repeated(" is string is defined", 1'000) + end, "expected one test"},
      {"called_calls", print + "x" + repeated("()", 100'000) + end, kTree},
      {"conditions_after", print + "1" + repeated(" if 1", 100'000) + end, kTree},
      {"macro_calls_itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", kCalls},
      {"macros_call_each_other",
       "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}", kCalls},
      {"macro_doubles", "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(150) }}",
       kSteps},
      {"macro_default", "{% macro m(a=m()) %}{% endmacro %}{{ m() }}", kCalls},
      {"macro_deep_expression",
       "{% macro m() %}{{ " + around("(1 + ", "m() | length", ")", 60) + " }}{% endmacro %}{{ m() }}",
       "deeper than 1500 levels"},
      {"caller_calls_caller",
       "{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro %}{{ "
       "n() }}",
       kCalls},
      {"loop_calls_itself", "{% for x in l recursive %}{{ loop(l) }}{% endfor %}", kCalls},
  };
}

std::vector<Case> too_large() {
  return {
      {"loops", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", kSteps},
      {"output", "{% for a in range(100000) %}" + repeated("text ", 100) + "{% endfor %}", kBytes},
      {"doubled_text",
       "{% set ns = namespace(t='abcdefgh') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
       kBytes},
      {"doubled_list",
       "{% set ns = namespace(t=[1]) %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}", kSteps},
      {"many_texts",
       "{% set ns = namespace(t=[]) %}{% for i in range(2000) %}{% set ns.t = ns.t + ['a' * 10000000] %}{% endfor %}",
       kSteps},
      {"long_range", "{{ range(10 ** 12) | length }}", "more than 100000 items"},
      {"long_range_down", "{{ range(0, -9223372036854775807, -3) | list }}", "more than 100000 items"},
      {"repeated_text", "{{ 'a' * 10 ** 9 }}", kBytes},
      {"repeated_text_overflows", "{{ 'abcdefgh' * 4611686018427387904 }}", kBytes},
      {"repeated_list", "{{ [0] * 10 ** 9 }}", "a list of 1000000000 items"},
      {"repeated_list_overflows", "{{ [0, 1, 2] * 9223372036854775807 }}", "items"},
      {"large_power", "{{ 10 ** 30 }}", "64 bits"},
      {"large_sum", "{{ 9223372036854775807 + 1 }}", "64 bits"},
      {"large_product", "{{ 9223372036854775807 * 3 }}", "64 bits"},
      {"large_difference", "{{ -9223372036854775807 - 2 }}", "64 bits"},
      {"large_negative", "{{ -(-9223372036854775807 - 1) }}", "64 bits"},
      {"large_quotient", "{{ (-9223372036854775807 - 1) // -1 }}", "64 bits"},
      {"large_absolute", "{{ (-9223372036854775807 - 1) | abs }}", "64 bits"},
      {"large_rounded", "{{ 9223372036854775807 | round(-1) }}", "64 bits"},
      {"large_literal", "{{ 9223372036854775808 }}", "64 bits"},
      {"large_text", "{{ '9223372036854775808' | int }}", "64 bits"},
      {"large_float", "{{ 1e30 | int }}", "64 bits"},
      {"large_float_power", "{{ 10.0 ** 400 }}", "too large"},
      {"slice_of_range", "{{ range(9223372036854775800, 9223372036854775807, 5)[::9223372036854775807] }}", "64 bits"},
      {"centred", "{{ 'a' | center(10 ** 10) }}", kBytes},
      {"zeros", "{{ 'a'.zfill(10 ** 10) }}", kBytes},
      {"tabs", "{{ ('\\t' * 1000).expandtabs(10 ** 9) }}", kBytes},
      {"indented", "{{ 'a\\nb' | indent(10 ** 10) }}", kBytes},
      {"indented_json", "{{ [1] | tojson(indent=10 ** 10) }}", kBytes},
      {"wide_percent", "{{ '%1000000000d' % 1 }}", kBytes},
      {"wide_percent_star", "{{ '%*d' % (1000000000, 1) }}", kBytes},
      {"wide_braces", "{{ '{:1000000000}'.format(1) }}", kBytes},
      {"precise", "{{ '%.1000000000f' % 1 }}", "digits"},
      {"endless_digits", "{{ '{:99999999999999999999}'.format(1) }}", "digits"},
      {"joined", "{{ ('a' * 10000) .join(range(100000) | map('string')) }}", kBytes},
      {"joined_filter", "{{ range(100000) | join('a' * 10000) }}", kBytes},
      {"replaced", "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}", "bytes"},
      {"replaced_nothing", "{{ ('a' * 100000) | replace('', 'b' * 100000) }}", "bytes"},
      {"filled_batch", "{{ [1] | batch(10 ** 12, 0) | list }}", kSteps},
      {"many_slices", "{{ [1] | slice(10 ** 12) | list }}", kSteps},
  };
}

std::vector<Case> too_long() {
  return {
      {"unique_numbers", "{{ range(100000) | map('float') | unique | list | length }}", kSteps},
      {"long_search", "{% for i in range(100000) %}{{ 'b' in 'a' * 1000000 }}{% endfor %}", kSteps},
      {"long_search_of_long_text",
       "{% set t = 'a' * 1000000 %}{% set u = 'a' * 50000 ~ 'b' %}{% for i in range(100000) %}{{ u in t }}{{ t.find(u) "
       "}}{{ t.rfind(u) }}{{ t.count(u) }}{{ t.replace(u, '') | length }}{% endfor %}",
       kSteps},
      {"long_search_from_right",
       "{% set t = 'a' * 1000000 %}{% set u = 'b' ~ 'a' * 50000 %}{% for i in range(100000) %}{{ t.rfind(u) }}{{ "
       "t.rsplit(u) | length }}{% endfor %}",
       kSteps},
      {"long_strip", "{% set t = 'ab' * 500000 %}{% for i in range(100000) %}{{ 'c'.strip(t) }}{% endfor %}", kSteps},
      {"long_attribute",
       "{% set t = 'a.' * 100000 %}{% for i in range(100000) %}{{ [] | sort(attribute=t) }}{{ [1] | join(attribute='a' "
       "* 100000) }}{% endfor %}",
       kSteps},
      {"long_keys", "{% set t = 'a' * 1000000 %}{% for i in range(100000) %}{{ {}[t] }}{{ x[t] }}{% endfor %}", kSteps},
      {"long_message", "{{ raise_exception('a\n' * 1000000) }}", "\\na\\na"},
      {"indexed_text", "{% set t = 'é' * 1000000 %}{% for i in range(100000) %}{{ t[i] }}{% endfor %}", kSteps},
      {"many_splits", "{% for i in range(100000) %}{% set t = ('a ' * 100000).split() %}{% endfor %}", kSteps},
  };
}

std::vector<Case> too_deep_values_and_others() {
  const std::string deep_list = "{% set ns = namespace(v=[]) %}{% for i in range(100000) %}";
  return {
      {"deep_value", deep_list + "{% set ns.v = [ns.v] %}{% endfor %}", kValues},
      {"deep_tuple", deep_list + "{% set ns.v = (ns.v, 1) %}{% endfor %}", kValues},
      {"deep_dict", deep_list + "{% set ns.v = {'a': ns.v} %}{% endfor %}", kValues},
      {"deep_method", deep_list + "{% set ns.v = [ns.v].index %}{% endfor %}", kValues},
      {"deep_cycler", deep_list + "{% set ns.v = cycler(ns.v).next %}{% endfor %}", kValues},
      {"deep_groups", deep_list + "{% set ns.v = [ns.v] | groupby(0) %}{% endfor %}", ""},
      {"deep_loops", deep_list + "{% for x in [ns.v] %}{% set ns.v = loop %}{% endfor %}{% endfor %}", kValues},
      {"namespace_in_itself", "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", kCalls},
      {"unknown_filter", "{{ x | wordwrap(3) }}", "'wordwrap' is not in the subset"},
      {"long_name", "{{ 1 " + std::string(100'000, 'a') + " }}", "aaa..."},
      {"unknown_tag", "{% include 'x' %}", "not in the subset"},
      {"bytes", "\xff", "UTF-8"},
  };
}

std::vector<Case> hostile() {
  std::vector<Case> all;
  for (const auto& cases : {too_deep(), too_large(), too_long(), too_deep_values_and_others()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Sources, HostileTemplate, ::testing::ValuesIn(hostile()),
                         [](const auto& one) { return std::string(one.param.name); });

std::string text(const std::string& source) { return rendered(source, {}, {{"x", "text"}}).text; }

TEST(TemplateLimits, WhatLeadsBackToItselfIsLetGo) {  // the leak check and the stack are the judges
  EXPECT_EQ(text("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.l = [ns, {'n': ns}] %}ok"), "ok");
  EXPECT_EQ(text("{% set ns = namespace() %}{% macro m() %}{{ ns.x }}{% endmacro %}{% set ns.m = m %}{% set ns.x = 1 "
                 "%}{{ ns.m() }}"),
            "1");
  EXPECT_EQ(
      text("{% for x in [1] recursive %}{% set ns = namespace(l=loop) %}{{ loop.changed(loop, ns) }}{% endfor %}"),
      "True");
  EXPECT_EQ(text("{% set ns = namespace(l=1) %}{% macro m() %}{% set before = ns.l %}{% for i in [1] recursive %}"
                 "{% set ns.l = loop %}{% endfor %}{% endmacro %}{% for i in range(50000) %}{{ m() }}{% endfor %}ok"),
            "ok");
  EXPECT_EQ(
      text("{% set ns = namespace(l=1) %}{% for i in range(50000) %}{% set before = ns.l %}{% macro m() %}{{ before }}"
           "{% endmacro %}{% set ns.l = m %}{% endfor %}ok"),
      "ok");
  EXPECT_EQ(
      text("{% set ns = namespace(l=1) %}{% for i in range(50000) %}{% set ns.l = namespace(l=ns.l) %}{% endfor %}ok"),
      "ok");
}

TEST(TemplateLimits, AreTheCallers) {
  TemplateOptions options;
  options.limits.output_bytes = 10;
  EXPECT_EQ(rendered("{{ 'a' * 10 }}", options, {}).text, "aaaaaaaaaa");
  EXPECT_NE(rendered("{{ 'a' * 10 }}b", options, {}).text.find("the limit is 10"), std::string::npos);
  options.limits.steps = 50;
  EXPECT_NE(rendered("{% for i in range(40) %}{% endfor %}", options, {}).text.find("50 steps"), std::string::npos);
  options.limits = {};
  options.limits.depth = 5;
  EXPECT_NE(rendered("{{ (((((1))))) }}", options, {}).text.find("5 levels"), std::string::npos);
  options.limits = {};
  options.limits.range_items = 3;
  EXPECT_NE(rendered("{{ range(4) }}", options, {}).text.find("3 items"), std::string::npos);
}

TEST(TemplateLimits, ALongConversationIsFarFromThem) {
  const auto file = test::fixtures("chat");
  for (const auto& fixture : file["templates"]) {
    auto messages = nlohmann::ordered_json::array();
    for (int i = 0; i < 500; ++i) {
      messages.push_back({{"role", "user"}, {"content", repeated("a question of some length. ", 100)}});
      messages.push_back({{"role", "assistant"}, {"content", repeated("An answer, too. ", 100)}});
    }
    const auto found = rendered(
        fixture, {{"messages", messages}, {"bos_token", ""}, {"eos_token", ""}, {"add_generation_prompt", true}});
    EXPECT_FALSE(found.failed) << fixture["name"] << ": " << found.text;
  }
}

TEST(TemplateErrors, NameTheirPlace) {
  EXPECT_EQ(text("a\n\n{{ x ? }}"), "fixture:3: unexpected character '?'");
  EXPECT_EQ(text("{% if x %}\n{% for y in x %}\n"),
            "fixture:2: expected {% endfor %} or {% else %}, found the end of the template");
  EXPECT_EQ(text("{{ x\n + \n 1 }}"), "fixture:2: unsupported operand types for +: 'str' and 'int'");
  EXPECT_EQ(text("{% macro m() %}\n{{ 1 / 0 }}\n{% endmacro %}\n\n{{ m() }}"), "fixture:2: division by zero");
  EXPECT_EQ(text("\n{{ raise_exception('no ' ~ x) }}"), "fixture:2: raised by the template: no text");
  EXPECT_EQ(text("{{ y.z }}"), "fixture:1: 'y' is undefined");
  EXPECT_EQ(text("{{ x }"), "fixture:1: unexpected '}'");
}

TEST(TemplateErrors, VariablesMustBeValues) {
  EXPECT_EQ(rendered("", {}, {{"n", UINT64_MAX}}).text,
            "fixture: variable n: integers must fit 64 bits with their sign, found 18446744073709551615");
  EXPECT_EQ(rendered("", {}, {{"s", {{"t", "\xff"}}}}).text, "fixture: variable s: expected UTF-8, found other bytes");
  EXPECT_EQ(rendered("", {}, nlohmann::ordered_json::array({1})).text,
            "fixture: expected an object of variables, found array");
  nlohmann::ordered_json deep;
  for (int i = 0; i < 300; ++i) deep = nlohmann::ordered_json::array({deep});
  EXPECT_NE(rendered("", {}, {{"d", deep}}).text.find("at most 200 deep"), std::string::npos);
}

TEST(Template, TellsTheTime) {
  const auto now = rendered("{{ strftime_now('%Y') | int > 2000 }}", {}, {});
  EXPECT_EQ(now.text, "True");
}

}  // namespace
}  // namespace lt2
