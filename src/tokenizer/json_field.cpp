#include "tokenizer/json_field.h"

#include "base/error.h"
#include "tokenizer/unicode.h"

namespace lt2 {

using nlohmann::json;

const JsonField& JsonField::expect(bool holds, const char* what) const {
  // A container is not shown: printing recurses, and how deep it goes is the file's choice.
  const bool scalar = value_->is_string() || value_->is_number() || value_->is_boolean();
  if (!holds) {
    const std::string found = scalar ? " " + value_->dump(-1, ' ', true, json::error_handler_t::replace) : "";
    refuse(fmt::format("expected {}, found {}{}", what, value_->type_name(), found.substr(0, 40)));
  }
  return *this;
}

void JsonField::refuse(const std::string& message) const { throw Error(where() + ": " + message); }

JsonField JsonField::at(const std::string& key) const {
  object();
  const auto found = value_->find(key);
  if (found == value_->end()) refuse(fmt::format("no \"{}\" here", key));
  return {*found, file_, path_.empty() ? key : path_ + "." + key};
}

bool JsonField::has(const std::string& key) const {
  object();
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

JsonField JsonField::at(size_t index) const { return {(*value_)[index], file_, fmt::format("{}[{}]", path_, index)}; }

const std::string& JsonField::text() const {
  expect(value_->is_string(), "a text");
  return value_->get_ref<const std::string&>();
}

int64_t JsonField::integer(int64_t low, int64_t high) const {
  expect(value_->is_number_integer(), "a whole number");
  const bool too_large = value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(high);
  if (too_large || value_->get<int64_t>() < low || value_->get<int64_t>() > high)
    refuse(fmt::format("expected {} to {}, found {}", low, high, value_->dump()));
  return value_->get<int64_t>();
}

bool JsonField::boolean() const {
  expect(value_->is_boolean(), "true or false");
  return value_->get<bool>();
}

uint32_t JsonField::character() const {
  const std::string& all = text();
  if (all.empty() || character_at(all, 0).bytes != all.size()) refuse("expected one character");
  return character_at(all, 0).code;
}

json parse_json(std::string_view content, const std::string& file) {
  try {
    return json::parse(content);
  } catch (const json::exception& error) {
    fail("{}: no JSON: {}", file, error.what());
  }
}

}  // namespace lt2
