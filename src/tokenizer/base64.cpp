#include "tokenizer/base64.h"

#include <array>
#include <cstdint>

namespace lt2 {

bool decode_base64(std::string_view text, std::string& bytes) {
  static const std::array<int8_t, 256> values = [] {
    std::array<int8_t, 256> all;
    all.fill(-1);
    const std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < digits.size(); ++i) all[static_cast<uint8_t>(digits[i])] = static_cast<int8_t>(i);
    return all;
  }();
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  uint32_t group = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int value = i >= text.size() - padding ? 0 : values[static_cast<uint8_t>(text[i])];
    if (value < 0) return false;
    group = group << 6 | static_cast<uint32_t>(value);
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0}) bytes += static_cast<char>(group >> shift & 0xff);
    group = 0;
  }
  bytes.erase(bytes.size() - padding);
  return true;
}

}  // namespace lt2
