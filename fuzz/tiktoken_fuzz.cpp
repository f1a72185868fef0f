// Any bytes as a rank file: a clear error, or a tokenizer that gives back what it encodes.
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/tiktoken_fuzz.cpp ... && ./tiktoken_fuzz
//   fuzz/seeds/tiktoken
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/utf8.h"
#include "tokenizer/tiktoken.h"

namespace {

void run(std::string_view file, const char* specials) {
  const lt2::TiktokenTokenizer tokenizer(file, "fuzz", specials);
  const auto text = file.substr(0, 4096);
  for (const auto& ids :
       {tokenizer.encode(text, true, true), tokenizer.encode(text, false, false, {.specials = true})}) {
    lt2::StreamDecoder stream(tokenizer);
    std::string streamed;
    for (const auto id : ids) streamed += stream.push(id);
    if (streamed + stream.finish() != tokenizer.decode(ids)) std::abort();
  }
  if (tokenizer.decode(tokenizer.encode(text, false, false)) != lt2::replace_invalid_utf8(text)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Mutations hardly ever keep the 256 lines of single bytes that every file needs, so half of the inputs get them.
  std::string file;
  if (size > 0 && data[0] % 2 == 0) {
    static const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int byte = 0; byte < 256; ++byte)
      file += {digits[byte >> 2],
               digits[(byte & 3) << 4],
               '=',
               '=',
               ' ',
               static_cast<char>('0' + byte / 100),
               static_cast<char>('0' + byte / 10 % 10),
               static_cast<char>('0' + byte % 10),
               '\n'};
  }
  file.append(reinterpret_cast<const char*>(data) + (size > 0), size > 0 ? size - 1 : 0);
  try {
    run(file, size > 0 && data[0] & 2 ? "gpt2" : "llama3");
  } catch (const lt2::Error&) {
  }
  return 0;
}
