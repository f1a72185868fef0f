#pragma once
// Reading JSON so that every error names the file and the field.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lt2 {

/// A value inside a JSON file and where it stands ("tokenizer.json: model.merges"). All functions throw lt2::Error that
/// says what was expected there and what was found. The document must outlive it. Json: nlohmann::json, or ordered_json
/// where the order of an object's members counts.
template <typename Json>
class BasicJsonField {
 public:
  BasicJsonField(const Json& value, std::string file) : value_(&value), file_(std::move(file)) {}

  /// The member `key` of an object, which must be there.
  BasicJsonField at(const std::string& key) const;
  /// Whether the object has `key` and it is not null.
  bool has(const std::string& key) const;
  BasicJsonField at(size_t index) const;
  size_t size() const { return value_->size(); }

  const BasicJsonField& object() const { return expect(value_->is_object(), "an object"); }
  const BasicJsonField& array() const { return expect(value_->is_array(), "a list"); }
  const std::string& text() const;
  int64_t integer(int64_t low, int64_t high) const;
  double number() const;
  bool boolean() const;
  /// Of a member that may be missing or null.
  bool boolean(const std::string& key, bool otherwise) const { return has(key) ? at(key).boolean() : otherwise; }
  std::string text(const std::string& key, const std::string& otherwise) const {
    return has(key) ? at(key).text() : otherwise;
  }
  int64_t integer(const std::string& key, int64_t low, int64_t high, int64_t otherwise) const {
    return has(key) ? at(key).integer(low, high) : otherwise;
  }
  const Json& value() const { return *value_; }
  std::string where() const { return path_.empty() ? file_ : file_ + ": " + path_; }
  /// Throws "WHERE: `message`".
  [[noreturn]] void refuse(const std::string& message) const;

 private:
  BasicJsonField(const Json& value, std::string file, std::string path)
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}
  const BasicJsonField& expect(bool holds, const char* what) const;

  const Json* value_;
  std::string file_, path_;
};

extern template class BasicJsonField<nlohmann::json>;
extern template class BasicJsonField<nlohmann::ordered_json>;
using JsonField = BasicJsonField<nlohmann::json>;

/// Throws lt2::Error "FILE: no JSON: ..." with the offset, and if it is nested deeper than any file of ours: what walks
/// through it recurses.
template <typename Json = nlohmann::json>
Json parse_json(std::string_view content, const std::string& file);

}  // namespace lt2
