#pragma once
// How a folder writes a chat: the template beside its weights, and the texts that it may name.
#include <filesystem>
#include <optional>
#include <string>

namespace lt2 {

struct ChatSource {
  std::string name;                      // of the template in errors: the file, and the key in it
  std::string text;                      // Jinja, UTF-8
  std::optional<std::string> for_tools;  // another one for conversations with tools
  std::optional<std::string> bos, eos;   // bos_token and eos_token; none: the folder does not name them
};

/// chat_template.jinja in `folder`, or else chat_template of tokenizer_config.json: a text, or a list of named ones, of
/// which "default" and "tool_use" are taken. None: the folder has no template. open_model verifies these files, but
/// only who talks reads them: a damaged template stops nothing else. Throws lt2::Error with file and key for what is
/// none.
std::optional<ChatSource> read_chat_source(const std::filesystem::path& folder);

}  // namespace lt2
