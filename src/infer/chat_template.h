#pragma once
// Encodes messages with a model's own template.
//
// The template's marks become special tokens. What people write stays text, whatever it spells: some of its characters
// are covered while the template runs (infer/disguise.h). If no text imitates a mark, the ids are those of Hugging
// Face's library, which reads marks anywhere in the rendered text.
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "folders/chat_source.h"
#include "infer/disguise.h"
#include "template/template.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {

struct ChatMessage {
  /// role, content (a text, or a list of parts as the template wants them), and whatever else the template knows:
  /// reasoning_content, tool_calls, tool_call_id, name.
  nlohmann::ordered_json fields;
  /// A model wrote it, not a person: marks in it are marks, and the template finds them.
  bool by_model = false;
};

struct ChatRequest {
  std::vector<ChatMessage> messages;
  nlohmann::ordered_json tools;  // a list of functions, or null
  bool add_generation_prompt = true;
};

class ChatTemplate {
 public:
  /// The tokenizer must outlive it. Throws lt2::Error with the file and the template's line for a malformed template.
  ChatTemplate(const ChatSource& source, const Tokenizer& tokenizer);

  const std::string& name() const { return template_.name(); }
  /// The conversation as text, with the places of its marks. Throws lt2::Error with the file and the template's line if
  /// the template fails (raise_exception and the limits included), for a role that would be part of a mark, and if it
  /// cannot be told which marks are the template's own.
  MarkedText render(const ChatRequest& request) const;
  /// Ids of a rendered text from byte `from` on, which must not lie inside a mark; `before`: the ids of the text before
  /// it.
  std::vector<int32_t> encode(const MarkedText& text, size_t from = 0, const std::vector<int32_t>& before = {}) const;

  /// Whether the marks that `text` spells, the text of `ids`, are tokens, each of them.
  bool marks_are_tokens(const std::string& text, const std::vector<int32_t>& ids) const;

  /// What follows an answer: a mark, or else the beginning of the text that follows.
  struct Ending {
    std::vector<int32_t> tokens;
    std::vector<std::string> texts;
  };
  Ending ending() const;

 private:
  enum class Cover { kNames, kGuards, kWhole };
  MarkedText rendered(const ChatRequest& request, Cover cover) const;
  void check_role(const nlohmann::ordered_json& fields, size_t number) const;
  bool is_mark(int32_t id) const;
  std::vector<MarkedText::Mark> marks_in(std::string_view text) const;
  std::vector<int32_t> ids_of_marks(const std::vector<int32_t>& ids) const;
  void append_piece(std::string_view piece, const MarkedText::Mark* mark, bool begun, std::vector<int32_t>& ids) const;

  const Tokenizer& tokenizer_;
  ChatSource source_;
  Template template_;
  std::optional<Template> for_tools_;
  MarkNames names_;
  std::vector<bool> is_mark_;   // by id
  std::vector<int32_t> begun_;  // marks that the template can make with a text: "<|" + role + "|>"
};

/// Private-use characters that stand for messages of unknown text.
inline constexpr const char *kSomeQuestion = "\xef\xa3\xb0\xef\xa3\xb1", *kSomeAnswer = "\xef\xa3\xb2\xef\xa3\xb3",
                            *kNextQuestion = "\xef\xa3\xb4\xef\xa3\xb5";

}  // namespace lt2
