#include "tokenizer/bytes.h"

#include <algorithm>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace lt2 {

std::vector<int32_t> BytesTokenizer::encode(std::string_view text, bool add_bos, bool add_eos) const {
  std::vector<int32_t> ids(text.size() + add_bos + add_eos);
  if (add_bos) ids.front() = kBos;
  std::transform(text.begin(), text.end(), ids.begin() + add_bos, [](char byte) { return static_cast<uint8_t>(byte); });
  if (add_eos) ids.back() = kEos;
  return ids;
}

std::string BytesTokenizer::token_bytes(int32_t id) const {
  LT2_CHECK(id >= 0, "bytes tokenizer: token id {} is negative", id);
  return id < kBos ? std::string(1, static_cast<char>(id)) : std::string();
}

std::string BytesTokenizer::text_of_bytes(std::string_view bytes) const { return escape_invalid_utf8(bytes); }

}  // namespace lt2
