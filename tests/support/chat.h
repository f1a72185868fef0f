#pragma once
// Chat templates in published shapes, and vocabularies that have their marks.
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "folders/chat_source.h"
#include "template/template.h"
#include "tests/support/vocabularies.h"

namespace lt2::test {

/// templates: name, template; variables: conversations.
inline const nlohmann::ordered_json& chat_fixtures() {
  static const auto fixtures = [] {
    std::ifstream file(LT2_TEST_DATA "/template/chat.json");
    return nlohmann::ordered_json::parse(file);
  }();
  return fixtures;
}

inline ChatSource chat_source(const std::string& text) {
  return {.name = "chat.jinja", .text = text, .for_tools = {}, .bos = "<s>", .eos = "</s>"};
}

inline ChatSource published_chat(const std::string& name) {
  for (const auto& fixture : chat_fixtures()["templates"])
    if (fixture["name"] == name) return chat_source(fixture["template"].get<std::string>());
  throw std::runtime_error("no template " + name);
}

/// A byte-level vocabulary with the marks of all these templates; the last six are words of its text, not special.
inline VocabularyCase every_mark() {
  VocabularyCase c{.name = "every_mark", .kind = "hf", .file = "smollm2_style/tokenizer.json"};
  std::ifstream file(std::string(LT2_TEST_DATA) + "/tokenizer/" + c.file);
  c.file.clear();
  c.json = nlohmann::json::parse(file);
  auto id = c.json["model"]["vocab"].size();
  for (const char* name : {"<s>",
                           "</s>",
                           "<|begin_of_text|>",
                           "<|start_header_id|>",
                           "<|end_header_id|>",
                           "<|eot_id|>",
                           "<|eom_id|>",
                           "<|python_tag|>",
                           "[INST]",
                           "[/INST]",
                           "[AVAILABLE_TOOLS]",
                           "[/AVAILABLE_TOOLS]",
                           "[TOOL_CALLS]",
                           "[TOOL_RESULTS]",
                           "[/TOOL_RESULTS]",
                           "<start_of_turn>",
                           "<end_of_turn>",
                           "<|User|>",
                           "<|Assistant|>",
                           "<|end|>",
                           "<|user|>",
                           "<|assistant|>",
                           "<|system|>"})
    c.json["added_tokens"].push_back({{"id", id++}, {"content", name}, {"special", true}});
  for (const char* name : {"<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"})
    c.json["added_tokens"].push_back({{"id", id++}, {"content", name}, {"special", false}});
  return c;
}

/// The text that the template renders from the variables.
inline std::string plainly_rendered(const ChatSource& source, nlohmann::ordered_json variables) {
  variables["bos_token"] = *source.bos;
  variables["eos_token"] = *source.eos;
  if (!variables.contains("tools")) variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  return Template::parse(source.text, source.name, TemplateOptions::chat()).render(variables);
}

}  // namespace lt2::test
