#pragma once
// A conversation with a model, turn by turn: its tokens are those that the model has seen, so nothing is read twice.
//
// With a template each turn renders the whole conversation. Where the text begins as the last turn's did, answer
// included, its tokens are kept as they are and the rest is appended; where the template rewrites earlier turns (trims
// an answer, drops its thinking), the changed part is encoded and read again.
#include <optional>
#include <string>
#include <vector>

#include "infer/chat_form.h"
#include "infer/chat_template.h"

namespace lt2 {

class Conversation {
 public:
  /// By the template of `source`, or by ChatForm if it is null. `history`: tokens of a session to continue, whose text
  /// counts as a question and an answer; empty: a new conversation. With `add_bos` a new one begins with BOS, unless a
  /// template says how it begins. The tokenizer must outlive the conversation.
  Conversation(const Tokenizer& tokenizer, const ChatSource* source, bool add_bos, std::vector<int32_t> history);

  /// Where the turns' form comes from.
  std::string form() const;
  /// What ends an answer besides the model's own end marks.
  const std::vector<int32_t>& stop_tokens() const { return ending_.tokens; }
  const std::vector<std::string>& stop_texts() const { return ending_.texts; }

  /// The tokens of the conversation up to where the answer to `said` begins. Throws lt2::Error if the template does;
  /// the conversation is then unchanged.
  const std::vector<int32_t>& ask(const std::string& said);
  /// Adds the model's answer, without the tokens or text that ended it.
  void answer(const std::vector<int32_t>& ids);
  /// Forgets the last question, which got no answer.
  void take_back();
  const std::vector<int32_t>& tokens() const { return now_.tokens; }

 private:
  // A text whose tokens are known. The tokens of an answer at its end are as the model gave them, marks or not.
  struct Known {
    MarkedText text;  // without the marks of the answer
    std::vector<int32_t> ids;
    size_t answer = 0;  // where it begins
  };
  struct State {
    std::vector<ChatMessage> messages;
    std::vector<int32_t> tokens;
    std::vector<Known> known;  // the last question's and its answer's
  };
  void render(State& state);
  static bool begins_with(const MarkedText& text, const Known& known);

  const Tokenizer& tokenizer_;
  std::vector<int32_t> session_;  // the history of a template's conversation
  std::optional<ChatTemplate> template_;
  std::optional<ChatForm> form_;
  bool add_bos_, told_ = false;
  ChatTemplate::Ending ending_;
  State now_, before_;  // before the last question
};

}  // namespace lt2
