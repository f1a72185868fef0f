#include "base/json_field.h"

#include "base/error.h"

namespace lt2 {

template <typename Json>
const BasicJsonField<Json>& BasicJsonField<Json>::expect(bool holds, const char* what) const {
  // A container is not shown: printing recurses, and how deep it goes is the file's choice.
  const bool scalar = value_->is_string() || value_->is_number() || value_->is_boolean();
  if (!holds) {
    const std::string found = scalar ? " " + value_->dump(-1, ' ', true, Json::error_handler_t::replace) : "";
    refuse(fmt::format("expected {}, found {}{}", what, value_->type_name(), found.substr(0, 40)));
  }
  return *this;
}

template <typename Json>
void BasicJsonField<Json>::refuse(const std::string& message) const {
  throw Error(where() + ": " + message);
}

template <typename Json>
BasicJsonField<Json> BasicJsonField<Json>::at(const std::string& key) const {
  object();
  const auto found = value_->find(key);
  if (found == value_->end()) refuse(fmt::format("no \"{}\" here", key));
  return {*found, file_, path_.empty() ? key : path_ + "." + key};
}

template <typename Json>
bool BasicJsonField<Json>::has(const std::string& key) const {
  object();
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

template <typename Json>
BasicJsonField<Json> BasicJsonField<Json>::at(size_t index) const {
  return {(*value_)[index], file_, fmt::format("{}[{}]", path_, index)};
}

template <typename Json>
const std::string& BasicJsonField<Json>::text() const {
  expect(value_->is_string(), "a text");
  return value_->template get_ref<const std::string&>();
}

template <typename Json>
int64_t BasicJsonField<Json>::integer(int64_t low, int64_t high) const {
  expect(value_->is_number_integer(), "a whole number");
  const bool too_large = value_->is_number_unsigned() && value_->template get<uint64_t>() > static_cast<uint64_t>(high);
  if (too_large || value_->template get<int64_t>() < low || value_->template get<int64_t>() > high)
    refuse(fmt::format("expected {} to {}, found {}", low, high, value_->dump()));
  return value_->template get<int64_t>();
}

template <typename Json>
bool BasicJsonField<Json>::boolean() const {
  expect(value_->is_boolean(), "true or false");
  return value_->template get<bool>();
}

template <typename Json>
double BasicJsonField<Json>::number() const {
  expect(value_->is_number(), "a number");
  return value_->template get<double>();
}

template <typename Json>
Json parse_json(std::string_view content, const std::string& file) {
  constexpr int kDeepest = 64;
  const auto bounded = [&](int depth, typename Json::parse_event_t, Json&) {
    LT2_CHECK(depth <= kDeepest, "{}: nested more than {} deep", file, kDeepest);
    return true;
  };
  try {
    return Json::parse(content, bounded);
  } catch (const typename Json::exception& error) {
    fail("{}: no JSON: {}", file, error.what());
  }
}

template class BasicJsonField<nlohmann::json>;
template class BasicJsonField<nlohmann::ordered_json>;
template nlohmann::json parse_json(std::string_view, const std::string&);
template nlohmann::ordered_json parse_json(std::string_view, const std::string&);

}  // namespace lt2
