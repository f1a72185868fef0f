#include "folders/settings.h"

#include <cmath>

#include "base/error.h"
#include "base/files.h"

namespace lt2 {

namespace fs = std::filesystem;
using nlohmann::json;

std::string shown(const json& value) {
  const auto text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() > 100 ? text.substr(0, 100) + "..." : text;
}

const json* Settings::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<int64_t> Settings::whole(const char* key, int64_t least) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<uint64_t>() <= uint64_t{1} << 31) &&
                    value->get<int64_t>() >= least;
  LT2_CHECK(fits, "{}: {} must be a whole number from {} to 2^31; found {}", where_, key, least, shown(*value));
  return value->get<int64_t>();
}

std::optional<double> Settings::positive(const char* key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  LT2_CHECK(value->is_number() && value->get<double>() > 0, "{}: {} must be a number above 0; found {}", where_, key,
            shown(*value));
  return value->get<double>();
}

std::optional<double> Settings::not_negative(const char* key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  LT2_CHECK(value->is_number() && std::isfinite(value->get<double>()) && value->get<double>() >= 0,
            "{}: {} must be a number of at least 0; found {}", where_, key, shown(*value));
  return value->get<double>();
}

std::optional<bool> Settings::flag(const char* key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  LT2_CHECK(value->is_boolean(), "{}: {} must be true or false; found {}", where_, key, shown(*value));
  return value->get<bool>();
}

std::optional<std::string> Settings::text(const char* key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  LT2_CHECK(value->is_string(), "{}: {} must be a text; found {}", where_, key, shown(*value));
  return value->get<std::string>();
}

std::optional<Settings> Settings::object(const char* key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  LT2_CHECK(value->is_object(), "{}: {} must be an object; found {}", where_, key, shown(*value));
  return Settings(*value, where_ + ": " + key);
}

json read_settings(const fs::path& path) {
  constexpr int kMaxDepth = 64;
  if (!fs::exists(path)) return json::object();
  const auto bounded = [&](int depth, json::parse_event_t, json&) {
    LT2_CHECK(depth <= kMaxDepth, "{}: nested more than {} deep", path.string(), kMaxDepth);
    return true;
  };
  json root = json::parse(read_file(path), bounded, /*allow_exceptions=*/false);
  LT2_CHECK(root.is_object(), "{}: expected a JSON object", path.string());
  return root;
}

GenerationDefaults read_generation_defaults(const fs::path& folder) {
  const auto path = folder / kGenerationFile;
  const auto root = read_settings(path);
  const Settings settings(root, path.string());
  return {.do_sample = settings.flag("do_sample"),
          .temperature = settings.not_negative("temperature"),
          .top_p = settings.not_negative("top_p"),
          .min_p = settings.not_negative("min_p"),
          .repetition_penalty = settings.not_negative("repetition_penalty"),
          .top_k = settings.whole("top_k", 0),
          .max_new_tokens = settings.whole("max_new_tokens", 0)};
}

std::vector<int32_t> read_stop_ids(const fs::path& folder, int64_t vocab_size) {
  std::vector<int32_t> out;
  for (const char* name : {kGenerationFile, kConfigFile}) {
    const auto where = (folder / name).string();
    const auto root = read_settings(where);
    const auto* value = Settings(root, where).find("eos_token_id");
    if (!value) continue;
    for (const auto& id : value->is_array() ? *value : json::array({*value})) {
      LT2_CHECK(id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(vocab_size),
                "{}: eos_token_id must be an id below vocab_size = {}, or a list of them; found {}", where, vocab_size,
                shown(*value));
      out.push_back(id.get<int32_t>());
    }
    return out;
  }
  return out;
}

}  // namespace lt2
