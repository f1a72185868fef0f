#include "infer/chat_form.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {

ChatForm::ChatForm(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  const int32_t start = tokenizer.mark_id("<|im_start|>"), end = tokenizer.mark_id("<|im_end|>");
  if (start >= 0 && end >= 0) start_ = start, end_ = end;
}

std::vector<int32_t> ChatForm::stop_tokens() const { return marked() ? std::vector{end_} : std::vector<int32_t>(); }

std::vector<std::string> ChatForm::stop_texts() const {
  return marked() ? std::vector<std::string>() : std::vector<std::string>{"\nUser:"};
}

// Some vocabularies read a mark in any text. Text that would become one is cut in two until it does not.
void ChatForm::append_text(std::string_view text, bool continues, std::vector<int32_t>& ids) const {
  const auto more = tokenizer_.encode(text, false, false, {.continues = continues});
  const bool forged = std::any_of(more.begin(), more.end(), [&](int32_t id) { return id == start_ || id == end_; });
  if (!marked() || !forged) {
    ids.insert(ids.end(), more.begin(), more.end());
    return;
  }
  size_t middle = utf8_border_from(text, text.size() / 2);
  if (middle == text.size()) middle = utf8_border_from(text, 1);
  LT2_CHECK(middle < text.size(), "chat: this vocabulary reads \"{}\" as a mark of the template", text);
  append_text(text.substr(0, middle), continues, ids);
  append_text(text.substr(middle), true, ids);
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
