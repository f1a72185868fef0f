#include "infer/text_stream.h"

#include <algorithm>

namespace lt2 {

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops)
    : decoder_(tokenizer), stops_(std::move(stops)) {
  stops_.erase(std::remove(stops_.begin(), stops_.end(), ""), stops_.end());
}

std::string TextStream::show(const std::string& piece) {
  if (stopped_) return "";
  waiting_ += piece;
  auto first = std::string::npos;
  for (const auto& stop : stops_) first = std::min(first, waiting_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    return waiting_.substr(0, first);
  }
  // The longest end that begins a stop text.
  size_t held = 0;
  for (const auto& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, waiting_.size()); length > held; --length) {
      if (waiting_.compare(waiting_.size() - length, length, stop, 0, length) == 0) held = length;
    }
  }
  auto certain = waiting_.substr(0, waiting_.size() - held);
  waiting_.erase(0, waiting_.size() - held);
  return certain;
}

std::string TextStream::push(int32_t token) { return show(decoder_.push(token)); }

std::string TextStream::finish() {
  auto text = show(decoder_.finish());
  if (!stopped_) text += waiting_;
  waiting_.clear();
  return text;
}

}  // namespace lt2
