#pragma once
// What every tokenizer owes to any text: ids decode alike at once and as a stream.
#include <cstdlib>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"

inline void decode_both_ways(const lt2::Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text, false, false);
  lt2::StreamDecoder stream(tokenizer);
  std::string streamed;
  for (const auto id : ids) streamed += stream.push(id);
  if (streamed + stream.finish() != tokenizer.decode(ids)) std::abort();
}
