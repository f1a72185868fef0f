#pragma once
// Documents as one endless stream of tokens, cut into sequences.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "data/document_reader.h"

namespace lt2 {

/// Sequences of `length` tokens from a stream of documents; each begins `stride` tokens after the one before. `State`
/// is what the stream needs to come back to a document.
template <typename State>
class Packer {
 public:
  struct Document {
    Tokens tokens;
    State before;  // the stream, just before this document
  };
  /// Token `start_token` of the document that the stream gives at `stream`.
  struct Position {
    int64_t start_token = 0;
    State stream;
  };

  Packer(int64_t length, int64_t stride) : length_(length), stride_(stride) {}

  /// Forgets all documents; the next sequence begins at token `start_token` of the next one, which must have it.
  void restart(int64_t start_token) {
    documents_.clear();
    start_ = start_token;
  }

  /// Writes the next sequence to out[0, length). `pull(document)` gives the next document, which has a token, or false
  /// at the end of the stream. Returns the number of tokens written, less than length only at the end.
  template <typename Pull>
  int64_t next(int32_t* out, Pull&& pull) {
    int64_t copied = 0;
    for (size_t i = 0; copied < length_; ++i) {
      if (i == documents_.size()) {
        documents_.emplace_back();
        if (!pull(documents_.back())) {
          documents_.pop_back();
          return copied;
        }
      }
      const auto& tokens = *documents_[i].tokens;
      const int64_t from = i == 0 ? start_ : 0, size = static_cast<int64_t>(tokens.size());
      const int64_t count = std::min(length_ - copied, size - from);
      std::copy_n(tokens.data() + from, count, out + copied);
      copied += count;
    }
    advance();
    return length_;
  }

  /// Where the next sequence begins. `stream`: the stream as it is now, after all documents read.
  Position position(const State& stream) const {
    if (documents_.empty()) return {0, stream};
    return {start_, documents_.front().before};
  }

 private:
  void advance() {
    start_ += stride_;
    while (!documents_.empty() && start_ >= static_cast<int64_t>(documents_.front().tokens->size())) {
      start_ -= static_cast<int64_t>(documents_.front().tokens->size());
      documents_.pop_front();
    }
  }

  int64_t length_, stride_, start_ = 0;
  std::deque<Document> documents_;
};

}  // namespace lt2
