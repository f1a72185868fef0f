#pragma once
// Tokens to text as they come, up to the first stop text.
//
// Stop texts are looked for in the bytes that the tokens stand for, not in the text as it is shown: a byte that is not
// UTF-8 is shown as \xNN or U+FFFD, and the model generated neither. The shown text is the decoding of the kept tokens,
// so a session that continues from these tokens continues from the text that was read.
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace lt2 {

class TextStream {
 public:
  /// The text continues that of the tokens `before`. Empty stop texts are ignored. The tokenizer must outlive the
  /// stream.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops, const std::vector<int32_t>& before = {});
  /// The text that is certain to be shown with this token: tokens that may hold the beginning of a stop text wait.
  std::string push(int32_t token);
  /// Whether a stop text has come; it and what follows it are not shown.
  bool stopped() const { return stopped_; }
  /// The text that still waits at the end of the tokens.
  std::string finish();
  /// The tokens whose text was shown, as they were pushed. If a stop text begins inside a token, the bytes before it
  /// are separate tokens here (none, if the vocabulary has none for exactly these bytes).
  const std::vector<int32_t>& kept() const { return kept_; }

 private:
  struct Waiting {
    int32_t token;
    size_t bytes;
    bool first;  // the text begins with it
  };
  std::string show(size_t bytes);
  std::string cut(const Waiting& token, const std::string& part);

  const Tokenizer& tokenizer_;
  StreamDecoder decoder_;
  std::vector<std::string> stops_;
  std::vector<Waiting> waiting_;
  std::string bytes_;  // of those that wait
  std::vector<int32_t> kept_;
  bool begun_, stopped_ = false;
};

}  // namespace lt2
