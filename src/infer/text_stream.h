#pragma once
// Tokens to text as they come, up to the first stop text.
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace lt2 {

class TextStream {
 public:
  /// Empty stop texts are passed over. The tokenizer must outlive the stream.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops);
  /// The text that is certain to be shown with this token: what may be the beginning of a stop text waits.
  std::string push(int32_t token);
  /// Whether a stop text has come; it and what follows it is not shown.
  bool stopped() const { return stopped_; }
  /// What still waits, at the end of the tokens.
  std::string finish();

 private:
  std::string show(const std::string& piece);

  StreamDecoder decoder_;
  std::vector<std::string> stops_;
  std::string waiting_;
  bool stopped_ = false;
};

}  // namespace lt2
