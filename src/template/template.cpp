#include "template/template.h"

#include <nlohmann/json.hpp>

#include "base/characters.h"
#include "base/error.h"
#include "base/text.h"
#include "template/evaluator.h"
#include "template/parser.h"

namespace lt2 {

namespace {

// What a template says in raise_exception may be of any length and have many lines.
std::string one_line(const std::string& message) {
  constexpr size_t kMost = 1000;
  if (message.size() <= kMost) return printable(message);
  return printable(message.substr(0, character_before(message, kMost))) + "...";
}

}  // namespace

TemplateOptions TemplateOptions::chat() {
  TemplateOptions options;
  options.trim_blocks = options.lstrip_blocks = true;
  return options;
}

TemplateOptions TemplateOptions::task() {
  TemplateOptions options;
  options.strict_undefined = options.keep_trailing_newline = true;
  return options;
}

Template::Template(std::string name, const TemplateOptions& options, std::shared_ptr<const jinja::Tree> tree)
    : name_(std::move(name)), options_(options), tree_(std::move(tree)) {}

Template Template::parse(std::string_view source, const std::string& name, const TemplateOptions& options) {
  try {
    jinja::Parser parser(jinja::tokens_of(source, name, options), name, options);
    return {name, options, std::make_shared<const jinja::Tree>(parser.parse())};
  } catch (const Error& error) {
    fail("{}", one_line(error.what()));  // a name in it may be as long as the template
  }
}

std::string Template::render(const nlohmann::ordered_json& variables) const {
  LT2_CHECK(variables.is_object() || variables.is_null(), "{}: expected an object of variables, found {}", name_,
            variables.type_name());
  jinja::Evaluator evaluator(options_);
  for (const auto& [key, value] : variables.items())
    evaluator.define(key, jinja::from_json(value, name_ + ": variable " + key));
  try {
    return evaluator.run(*tree_);
  } catch (const Error& error) {
    fail("{}:{}: {}", name_, evaluator.line(), one_line(error.what()));
  }
}

}  // namespace lt2
