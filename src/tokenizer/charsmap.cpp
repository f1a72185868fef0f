#include "tokenizer/charsmap.h"

#include <cstring>

#include "base/error.h"
#include "base/utf8.h"
#include "tokenizer/hf_normalizer.h"
#include "tokenizer/unicode.h"

namespace lt2 {

Charsmap::Charsmap(std::string_view blob, const std::string& where) {
  uint32_t bytes = 0;
  LT2_CHECK(blob.size() >= sizeof bytes, "{}: {} bytes are no map of characters", where, blob.size());
  std::memcpy(&bytes, blob.data(), sizeof bytes);
  blob.remove_prefix(sizeof bytes);
  LT2_CHECK(bytes % 4 == 0 && bytes >= 4 && bytes <= blob.size(), "{}: a trie of {} bytes, {} are there", where, bytes,
            blob.size());
  trie_.resize(bytes / 4);
  std::memcpy(trie_.data(), blob.data(), bytes);
  replacements_ = blob.substr(bytes);
  LT2_CHECK(count_invalid_utf8(replacements_) == 0, "{}: the replacements are not UTF-8", where);
}

Charsmap::Match Charsmap::match(std::string_view text, size_t at) const {
  const auto offset = [](uint32_t u) { return static_cast<size_t>(u >> 10) << ((u & 512) >> 6); };
  size_t node = offset(unit(0)), matched = 0;
  uint32_t leaf = 0;
  for (size_t i = at; i < text.size() && !trie_.empty(); ++i) {
    const auto label = static_cast<uint8_t>(text[i]);
    node ^= label;
    const uint32_t u = unit(node);
    if (label == 0 || (u & (0x80000000u | 0xff)) != label) break;
    node ^= offset(u);
    if (u & 256) {
      matched = i + 1 - at;
      leaf = unit(node) & 0x7fffffff;
    }
  }
  // A rule that ends inside a character, or an address outside the replacements, is none.
  const size_t end = at + matched;
  const bool whole = matched > 0 && (end == text.size() || (static_cast<uint8_t>(text[end]) & 0xc0) != 0x80);
  const bool inside = leaf < replacements_.size() && (static_cast<uint8_t>(replacements_[leaf]) & 0xc0) != 0x80;
  if (whole && inside) return {matched, std::string_view(replacements_.c_str() + leaf)};
  const size_t bytes = character_at(text, at).bytes;
  return {bytes, text.substr(at, bytes)};
}

std::string Charsmap::apply(std::string_view text) const {
  const size_t most = most_normalized_bytes(text.size());
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Match found = match(text, at);
    LT2_CHECK(out.size() + found.text.size() <= most, "charsmap: the text grew beyond {} bytes, more than 64-fold",
              most);
    out += found.text;
    at += found.bytes;
  }
  return out;
}

}  // namespace lt2
