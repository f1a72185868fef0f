#pragma once
// A token is a byte: no vocabulary file, every text encodes, nothing is replaced.
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace lt2 {

/// Ids 0..255 are the bytes of the text as they are, well-formed UTF-8 or not; Lingua's BOS 256 and EOS 257 follow.
/// Decoding drops both and writes each byte of broken UTF-8 as \xNN.
class BytesTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kBos = 256, kEos = 257, kWords = 258;

  BytesTokenizer() : Tokenizer("bytes tokenizer") {}
  std::string token_bytes(int32_t id) const override;
  std::string text_of_bytes(std::string_view bytes) const override;
  int32_t n_words() const override { return kWords; }
  int32_t bos_id() const override { return kBos; }
  int32_t eos_id() const override { return kEos; }
  std::string name() const override { return "bytes"; }
  bool keeps_invalid_utf8() const override { return true; }

 protected:
  void append(std::string_view text, const TextReading& how, std::vector<int32_t>& ids) const override;
};

}  // namespace lt2
