#include "infer/conversation.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace lt2 {

Conversation::Conversation(const Tokenizer& tokenizer, const ChatSource* source, bool add_bos,
                           std::vector<int32_t> history)
    : tokenizer_(tokenizer), add_bos_(add_bos) {
  now_.tokens = history;
  if (!source) {
    form_.emplace(tokenizer);
    ending_ = {.tokens = form_->stop_tokens(), .texts = form_->stop_texts()};
    return;
  }
  template_.emplace(*source, tokenizer);
  ending_ = template_->ending();
  if (history.empty()) return;
  session_ = std::move(history);
  now_.messages = {{{{"role", "user"}, {"content", kSomeQuestion}}, true},
                   {{{"role", "assistant"}, {"content", kSomeAnswer}}, true}};
}

std::string Conversation::form() const { return template_ ? template_->name() : std::string(form_->name()) + " form"; }

bool Conversation::begins_with(const MarkedText& text, const Known& known) {
  const size_t size = known.text.text.size();
  if (!text.text.starts_with(known.text.text)) return false;
  const auto first_from = [&](size_t at) {
    return std::find_if(text.marks.begin(), text.marks.end(), [&](const auto& mark) { return mark.end > at; });
  };
  const auto next = first_from(size), own = first_from(known.answer);
  if (next != text.marks.end() && next->begin < size) return false;  // a mark lies across the end
  return std::equal(text.marks.begin(), own, known.text.marks.begin(), known.text.marks.end());
}

void Conversation::render(State& state) {
  auto text = template_->render({.messages = state.messages, .tools = nullptr});
  size_t from = 0;
  std::vector<int32_t> ids;
  const auto known = std::find_if(state.known.rbegin(), state.known.rend(),
                                  [&](const Known& each) { return begins_with(text, each); });
  if (known != state.known.rend()) {
    from = known->text.text.size();
    ids = known->ids;
  } else if (!session_.empty()) {
    const size_t answer = text.text.find(kSomeAnswer);
    LT2_CHECK(answer != std::string::npos,
              "{}: the template changes earlier answers, so the session cannot continue; begin another one",
              template_->name());
    from = answer + std::string_view(kSomeAnswer).size();
    ids = session_;
  }
  const auto more = template_->encode(text, from, ids);
  const size_t kept = ids.size();
  ids.insert(ids.end(), more.begin(), more.end());
  LT2_CHECK(!ids.empty(), "{}: the template writes nothing for this conversation", template_->name());
  if (kept < state.tokens.size() && !std::exchange(told_, true))
    log_info("{}: the template rewrites earlier turns; the conversation is read again from token {} of {} on",
             template_->name(), kept, state.tokens.size());
  state.tokens = ids;
  const size_t end = text.text.size();
  state.known = {{std::move(text), std::move(ids), end}};
}

const std::vector<int32_t>& Conversation::ask(const std::string& said) {
  State next = now_;
  if (template_) {
    next.messages.push_back({{{"role", "user"}, {"content", said}}});
    render(next);
  } else {
    const auto turn = form_->turn(said, next.tokens, add_bos_);
    next.tokens.insert(next.tokens.end(), turn.begin(), turn.end());
  }
  before_ = std::exchange(now_, std::move(next));
  return now_.tokens;
}

void Conversation::answer(const std::vector<int32_t>& ids) {
  const auto text = template_ ? tokenizer_.decode_after(now_.tokens, ids) : std::string();
  now_.tokens.insert(now_.tokens.end(), ids.begin(), ids.end());
  if (!template_) return;
  // A person can make the model spell a mark in letters: such an answer is as untrusted as what people write.
  now_.messages.push_back({{{"role", "assistant"}, {"content", text}}, template_->marks_are_tokens(text, ids)});
  Known answered = now_.known.back();
  answered.text.text += text;
  answered.ids = now_.tokens;
  now_.known.push_back(std::move(answered));
}

void Conversation::take_back() { now_ = before_; }

}  // namespace lt2
