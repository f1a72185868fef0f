// Any bytes as a SentencePiece model: a clear error, or a tokenizer that encodes and decodes without harm.
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/sentencepiece_fuzz.cpp ... &&
//   ./sentencepiece_fuzz fuzz/seeds/sentencepiece
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "fuzz/round_trip.h"
#include "tokenizer/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    const lt2::SentencePieceTokenizer tokenizer(file, "fuzz");
    decode_both_ways(tokenizer, " ab  abba\xe2\x96\x81 \xef\xac\x81 12?? \xf0\x9f\x98\x80\xff");
    decode_both_ways(tokenizer, file.substr(0, 512));
    for (int32_t id = 0; id < tokenizer.n_words() && id < 300; ++id) tokenizer.token_bytes(id);
  } catch (const lt2::Error&) {
  }
  return 0;
}
