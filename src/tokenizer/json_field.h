#pragma once
// Reading JSON so that every error names the file and the field.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lt2 {

/// A value inside a JSON file and where it stands ("tokenizer.json: model.merges"). All functions throw lt2::Error that
/// says what was expected there and what was found. The document must outlive it.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, std::string file) : value_(&value), file_(std::move(file)) {}

  /// The member `key` of an object, which must be there.
  JsonField at(const std::string& key) const;
  /// Whether the object has `key` and it is not null.
  bool has(const std::string& key) const;
  JsonField at(size_t index) const;
  size_t size() const { return value_->size(); }

  const JsonField& object() const { return expect(value_->is_object(), "an object"); }
  const JsonField& array() const { return expect(value_->is_array(), "a list"); }
  const std::string& text() const;
  int64_t integer(int64_t low, int64_t high) const;
  bool boolean() const;
  /// Of a member that may be missing or null.
  bool boolean(const std::string& key, bool otherwise) const { return has(key) ? at(key).boolean() : otherwise; }
  std::string text(const std::string& key, const std::string& otherwise) const {
    return has(key) ? at(key).text() : otherwise;
  }
  /// The character that is the whole text.
  uint32_t character() const;

  const nlohmann::json& value() const { return *value_; }
  std::string where() const { return path_.empty() ? file_ : file_ + ": " + path_; }
  /// Throws "WHERE: `message`".
  [[noreturn]] void refuse(const std::string& message) const;

 private:
  JsonField(const nlohmann::json& value, std::string file, std::string path)
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}
  const JsonField& expect(bool holds, const char* what) const;

  const nlohmann::json* value_;
  std::string file_, path_;
};

/// Throws lt2::Error "FILE: no JSON: ..." with the offset.
nlohmann::json parse_json(std::string_view content, const std::string& file);

}  // namespace lt2
