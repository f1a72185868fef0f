#pragma once
// The fixtures of templates, and one of them rendered.
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "template/template.h"

namespace lt2::test {

inline nlohmann::ordered_json fixtures(const std::string& name) {
  std::ifstream file(LT2_TEST_DATA "/template/" + name + ".json");
  return nlohmann::ordered_json::parse(file);
}

inline TemplateOptions options_of(const nlohmann::ordered_json& fixture) {
  const auto has = [&](const char* name) { return fixture["options"].value(name, false); };
  TemplateOptions options;
  options.trim_blocks = has("trim_blocks");
  options.lstrip_blocks = has("lstrip_blocks");
  options.keep_trailing_newline = has("keep_trailing_newline");
  options.strict_undefined = has("strict_undefined");
  options.now = std::tm{.tm_sec = 45,
                        .tm_min = 30,
                        .tm_hour = 12,
                        .tm_mday = 26,
                        .tm_mon = 6,
                        .tm_year = 124,
                        .tm_wday = 5,
                        .tm_yday = 207};
  return options;
}

/// The text, or the error's.
struct Rendered {
  std::string text;
  bool failed = false;
};

inline Rendered rendered(const std::string& source, const TemplateOptions& options,
                         const nlohmann::ordered_json& variables) {
  try {
    return {Template::parse(source, "fixture", options).render(variables), false};
  } catch (const Error& error) {
    return {error.what(), true};
  }
}

inline Rendered rendered(const nlohmann::ordered_json& fixture, const nlohmann::ordered_json& variables) {
  return rendered(fixture["template"].get<std::string>(), options_of(fixture), variables);
}

}  // namespace lt2::test
