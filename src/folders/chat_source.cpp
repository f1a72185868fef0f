#include "folders/chat_source.h"

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "folders/settings.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char *kTemplateFile = "chat_template.jinja", *kTokenizerSettings = "tokenizer_config.json",
                     *kTemplateKey = "chat_template";

// "<s>", or {"content": "<s>", ..}.
std::optional<std::string> token_text(const Settings& settings, const char* key) {
  const auto* value = settings.find(key);
  if (!value) return std::nullopt;
  const auto* text = value->is_object() && value->contains("content") ? &(*value)["content"] : value;
  LT2_CHECK(text->is_string(), "{}: {} must be a text or {{\"content\": text}}; found {}", settings.where(), key,
            shown(*value));
  return text->get<std::string>();
}

std::string template_text(const json& value, const std::string& where) {
  LT2_CHECK(value.is_string(), "{}: expected the text of a template, found {}", where, shown(value));
  return value.get<std::string>();
}

// A list of {"name": .., "template": ..}.
void take_named(const json& list, const std::string& where, ChatSource& out) {
  std::optional<std::string> standard;
  std::string names;
  for (size_t i = 0; i < list.size(); ++i) {
    const auto place = fmt::format("{}[{}]", where, i);
    const auto& one = list[i];
    LT2_CHECK(one.is_object() && one.contains("name") && one["name"].is_string() && one.contains("template"),
              "{}: expected {{\"name\": .., \"template\": ..}}, found {}", place, shown(one));
    const auto name = one["name"].get<std::string>();
    names += (names.empty() ? "" : ", ") + name;
    if (name == "default") standard = template_text(one["template"], place);
    if (name == "tool_use") out.for_tools = template_text(one["template"], place);
  }
  LT2_CHECK(standard, "{}: none of the templates is named \"default\"; found {}", where,
            names.empty() ? "an empty list" : names);
  out.text = *standard;
}

}  // namespace

std::optional<ChatSource> read_chat_source(const fs::path& folder) {
  const auto file = folder / kTemplateFile, beside = folder / kTokenizerSettings;
  const auto root = read_settings(beside);
  const Settings settings(root, beside.string());
  ChatSource out;
  if (is_there(file)) {
    out.name = file.string();
    out.text = read_file(file);
    LT2_CHECK(count_invalid_utf8(out.text) == 0, "{}: expected a template in UTF-8, found other bytes", out.name);
  } else if (const auto* value = settings.find(kTemplateKey)) {
    out.name = settings.where() + ": " + kTemplateKey;
    LT2_CHECK(value->is_string() || value->is_array(),
              "{}: expected a template or a list of {{\"name\", \"template\"}}, found {}", out.name, shown(*value));
    if (value->is_string()) {
      out.text = value->get<std::string>();
    } else {
      take_named(*value, out.name, out);
    }
  } else {
    return std::nullopt;
  }
  out.bos = token_text(settings, "bos_token");
  out.eos = token_text(settings, "eos_token");
  return out;
}

}  // namespace lt2
