// Any bytes as a SentencePiece model: a clear error, or a tokenizer that encodes and decodes without harm.
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/sentencepiece_fuzz.cpp ... &&
//   ./sentencepiece_fuzz fuzz/seeds/sentencepiece
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "tokenizer/sentencepiece.h"

namespace {

void run(const lt2::SentencePieceTokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text, false, false);
  lt2::StreamDecoder stream(tokenizer);
  std::string streamed;
  for (const auto id : ids) streamed += stream.push(id);
  if (streamed + stream.finish() != tokenizer.decode(ids)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    const lt2::SentencePieceTokenizer tokenizer(file, "fuzz");
    run(tokenizer, " ab  abba\xe2\x96\x81 \xef\xac\x81 12?? \xf0\x9f\x98\x80\xff");
    run(tokenizer, file.substr(0, 512));
    for (int32_t id = 0; id < tokenizer.n_words() && id < 300; ++id) tokenizer.token_bytes(id);
  } catch (const lt2::Error&) {
  }
  return 0;
}
