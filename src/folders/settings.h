#pragma once
// The small JSON files next to weights, written by many programs: every value is checked before it is used.
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "folders/model_folder.h"

namespace lt2 {

/// The keys of a JSON object; null is as good as absent. All functions throw lt2::Error that begins with where(), names
/// the key and says what was expected and found. The object must outlive it.
class Settings {
 public:
  Settings(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  /// Null: absent.
  const nlohmann::json* find(const char* key) const;
  /// From `least` to 2^31: no size of a model lies beyond, and products of two stay exact.
  std::optional<int64_t> whole(const char* key, int64_t least = 1) const;
  std::optional<double> positive(const char* key) const;
  std::optional<double> not_negative(const char* key) const;
  std::optional<bool> flag(const char* key) const;
  std::optional<std::string> text(const char* key) const;
  std::optional<Settings> object(const char* key) const;
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& object_;
  std::string where_;
};

/// A value as errors show it: on one line, at most 100 characters.
std::string shown(const nlohmann::json& value);

/// An empty object if the file is not there. Throws lt2::Error unless it is a JSON object, at most 64 deep.
nlohmann::json read_settings(const std::filesystem::path& path);

/// What generation_config.json in `folder` recommends; nothing if it is not there.
GenerationDefaults read_generation_defaults(const std::filesystem::path& folder);

/// The ids of `eos_token_id` in generation_config.json or else config.json, both in `folder` and optional.
std::vector<int32_t> read_stop_ids(const std::filesystem::path& folder, int64_t vocab_size);

}  // namespace lt2
