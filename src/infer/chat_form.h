#pragma once
// How the turns of a conversation are written for a model.
//
// The marks of a template are tokens, appended by their ids. What a person types is text and never becomes a mark, so a
// user cannot write in another role.
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace lt2 {

class ChatForm {
 public:
  /// ChatML if the vocabulary has its marks, else lines that begin with "User:" and "Assistant:". The tokenizer must
  /// outlive the form.
  explicit ChatForm(const Tokenizer& tokenizer);

  const char* name() const { return marked() ? "ChatML" : "User/Assistant"; }
  /// The tokens of a turn: the end of the previous answer (none before the first turn), the text `said`, and the
  /// beginning of the answer. `before`: the conversation so far; BOS begins it with `add_bos`.
  std::vector<int32_t> turn(const std::string& said, const std::vector<int32_t>& before, bool add_bos) const;
  /// What ends an answer.
  std::vector<int32_t> stop_tokens() const;
  std::vector<std::string> stop_texts() const;

 private:
  bool marked() const { return start_ >= 0; }
  void append_text(std::string_view text, bool continues, std::vector<int32_t>& ids) const;

  const Tokenizer& tokenizer_;
  int32_t start_ = -1, end_ = -1;  // <|im_start|> and <|im_end|>, or none
};

}  // namespace lt2
