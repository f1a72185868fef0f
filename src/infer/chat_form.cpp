#include "infer/chat_form.h"

#include "infer/plain_text.h"

namespace lt2 {

ChatForm::ChatForm(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  const int32_t start = tokenizer.mark_id("<|im_start|>"), end = tokenizer.mark_id("<|im_end|>");
  if (start >= 0 && end >= 0) start_ = start, end_ = end;
}

std::vector<int32_t> ChatForm::stop_tokens() const { return marked() ? std::vector{end_} : std::vector<int32_t>(); }

std::vector<std::string> ChatForm::stop_texts() const {
  return marked() ? std::vector<std::string>() : std::vector<std::string>{"\nUser:"};
}

void ChatForm::append_text(std::string_view text, bool continues, std::vector<int32_t>& ids) const {
  const auto is_mark = [this](int32_t id) { return marked() && (id == start_ || id == end_); };
  append_plain_text(tokenizer_, text, continues, is_mark, ids);
}

std::vector<int32_t> ChatForm::turn(const std::string& said, const std::vector<int32_t>& before, bool add_bos) const {
  std::vector<int32_t> ids;
  if (before.empty() && add_bos) ids = tokenizer_.encode("", true, false);
  if (!marked()) {
    const bool continues = tokenizer_.holds_text(before);
    append_text((before.empty() ? "" : "\n") + ("User: " + said) + "\nAssistant:", continues, ids);
    return ids;
  }
  if (!before.empty()) {
    ids.push_back(end_);
    append_text("\n", true, ids);
  }
  ids.push_back(start_);
  append_text("user\n" + said, true, ids);
  ids.push_back(end_);
  append_text("\n", true, ids);
  ids.push_back(start_);
  append_text("assistant\n", true, ids);
  return ids;
}

}  // namespace lt2
