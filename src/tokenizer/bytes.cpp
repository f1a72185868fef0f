#include "tokenizer/bytes.h"

#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {

void BytesTokenizer::append(std::string_view text, const TextReading&, std::vector<int32_t>& ids) const {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  ids.insert(ids.end(), bytes, bytes + text.size());
}

std::string BytesTokenizer::token_bytes(int32_t id) const {
  LT2_CHECK(id >= 0, "{}: token id {} is negative", where_, id);
  return id < kBos ? std::string(1, static_cast<char>(id)) : std::string();
}

std::string BytesTokenizer::text_of_bytes(std::string_view bytes) const { return escape_invalid_utf8(bytes); }

}  // namespace lt2
