#include "template/parameters.h"

#include "template/operators.h"

namespace lt2::jinja {

Parameters::Parameters(std::string what, const Arguments& arguments, std::initializer_list<const char*> names,
                       size_t required)
    : what_(std::move(what)), names_(names), values_(names.size()), given_(names.size()) {
  LT2_CHECK(arguments.positional.size() <= names_.size(), "{} takes at most {} arguments, found {}", what_,
            names_.size(), arguments.positional.size());
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    values_[i] = arguments.positional[i];
    given_[i] = true;
  }
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    while (i < names_.size() && name != names_[i]) ++i;
    LT2_CHECK(i < names_.size(), "{} takes no argument named '{}'", what_, name);
    LT2_CHECK(!given_[i], "{} was given its argument '{}' twice", what_, name);
    values_[i] = value;
    given_[i] = true;
  }
  for (size_t i = 0; i < required; ++i) LT2_CHECK(given_[i], "{} needs its argument '{}'", what_, names_[i]);
}

const Value& Parameters::checked(size_t i, bool holds, const char* expected) const {
  if (values_[i].is_undefined()) refuse_undefined(values_[i]);
  LT2_CHECK(holds, "{}: '{}' must be {}, found {}", what_, names_[i], expected, values_[i].type_name());
  return values_[i];
}

const std::string& Parameters::text(size_t i) const { return checked(i, values_[i].is_text(), "a text").bytes(); }
int64_t Parameters::integer(size_t i) const { return checked(i, values_[i].is_integer(), "an integer").integer(); }

bool Parameters::truth(Runtime& run, size_t i, bool otherwise) const {
  return has(i) ? jinja::truth(run, values_[i]) : otherwise;
}

}  // namespace lt2::jinja
