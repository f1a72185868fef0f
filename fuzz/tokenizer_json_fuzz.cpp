// Any bytes as a tokenizer.json: a clear error, or a tokenizer that encodes and decodes without harm.
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/tokenizer_json_fuzz.cpp ... &&
//   ./tokenizer_json_fuzz fuzz/seeds/tokenizer_json
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "fuzz/round_trip.h"
#include "tokenizer/hf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    const lt2::HfTokenizer tokenizer(file, "fuzz", {});
    decode_both_ways(tokenizer, " Hello  world's 123 \xe1\xbb\x87 \xe2\x96\x81<s>\n\n\xf0\x9f\x98\x80\xff.");
    decode_both_ways(tokenizer, file.substr(0, 512));
    for (int32_t id = 0; id < tokenizer.n_words() && id < 300; ++id) tokenizer.token_bytes(id);
    lt2::HfTokenizer(R"({"model":{"vocab":{"a":0,"b":1},"merges":[]}})", "fuzz", {std::string(file), ""});
  } catch (const lt2::Error&) {
  }
  return 0;
}
