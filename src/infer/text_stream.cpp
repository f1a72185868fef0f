#include "infer/text_stream.h"

#include <algorithm>
#include <array>

namespace lt2 {
namespace {

// Tokens that stand for exactly `part` of a text; empty if the vocabulary has none.
std::vector<int32_t> exact_tokens(const Tokenizer& tokenizer, const std::string& part, bool first) {
  auto ids = tokenizer.encode(part, false, false, {.continues = !first});
  const auto are_exact = [&] {
    bool begun = !first;
    std::string bytes;
    for (const int32_t id : ids) bytes += tokenizer.next_bytes(id, begun);
    return bytes == part;
  };
  if (are_exact()) return ids;
  // Part of a character, or text that a normalizer changes: byte by byte.
  std::array<int32_t, 256> of_byte;
  of_byte.fill(-1);
  for (int32_t id = tokenizer.n_words(); id-- > 0;) {
    if (const auto token = tokenizer.token_bytes(id); token.size() == 1 && !tokenizer.is_special(id))
      of_byte[static_cast<uint8_t>(token[0])] = id;
  }
  ids.clear();
  for (const char byte : part) ids.push_back(of_byte[static_cast<uint8_t>(byte)]);
  if (std::find(ids.begin(), ids.end(), -1) != ids.end() || !are_exact()) ids.clear();
  return ids;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops, const std::vector<int32_t>& before)
    : tokenizer_(tokenizer),
      decoder_(tokenizer, before),
      stops_(std::move(stops)),
      begun_(tokenizer.holds_text(before)) {
  stops_.erase(std::remove(stops_.begin(), stops_.end(), ""), stops_.end());
}

// Releases the waiting tokens that end within the first `bytes` bytes.
std::string TextStream::show(size_t bytes) {
  std::string text;
  size_t end = 0, count = 0;
  for (; count < waiting_.size() && end + waiting_[count].bytes <= bytes; ++count) {
    end += waiting_[count].bytes;
    kept_.push_back(waiting_[count].token);
    text += decoder_.push(waiting_[count].token);
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
  bytes_.erase(0, end);
  return text;
}

// The bytes of a token before a stop text.
std::string TextStream::cut(const Waiting& token, const std::string& part) {
  const auto ids = exact_tokens(tokenizer_, part, token.first);
  if (ids.empty()) return decoder_.finish() + tokenizer_.text_of_bytes(part);
  std::string text;
  for (const int32_t id : ids) text += decoder_.push(id);
  kept_.insert(kept_.end(), ids.begin(), ids.end());
  return text;
}

std::string TextStream::push(int32_t token) {
  if (stopped_) return "";
  const bool begins = !begun_;
  const auto bytes = tokenizer_.next_bytes(token, begun_);
  waiting_.push_back({token, bytes.size(), begins});
  bytes_ += bytes;
  auto first = std::string::npos;
  for (const auto& stop : stops_) first = std::min(first, bytes_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    const size_t all = bytes_.size();
    auto text = show(first);
    if (const size_t part = first - (all - bytes_.size()); part > 0)
      text += cut(waiting_.front(), bytes_.substr(0, part));
    waiting_.clear();
    bytes_.clear();
    return text;
  }
  // The longest suffix that begins a stop text.
  size_t held = 0;
  for (const auto& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, bytes_.size()); length > held; --length) {
      if (bytes_.compare(bytes_.size() - length, length, stop, 0, length) == 0) held = length;
    }
  }
  return show(bytes_.size() - held);
}

std::string TextStream::finish() {
  auto text = show(bytes_.size());  // empty after a stop text
  return text + decoder_.finish();
}

}  // namespace lt2
