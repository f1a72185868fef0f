#include "template/filters.h"

namespace lt2::jinja {
namespace {

Filter filter_named(const std::string& name) {
  if (const Filter filter = text_filter(name)) return filter;
  if (const Filter filter = item_filter(name)) return filter;
  return number_filter(name);
}

}  // namespace

bool has_filter(const std::string& name) { return filter_named(name) != nullptr; }

std::string no_filter(const std::string& name) {
  for (const char* other : {"pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"})
    if (name == other) return "the filter '" + name + "' is not in the subset of Jinja that runs here";
  return "no filter is named '" + name + "'";
}

Value apply_filter(Runtime& run, const std::string& name, const Value& value, const Arguments& arguments) {
  const Filter filter = filter_named(name);
  LT2_CHECK(filter, "{}", no_filter(name));
  run.spend(1);
  return filter(run, value, arguments);
}

}  // namespace lt2::jinja
