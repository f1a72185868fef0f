#pragma once
// tiktoken's vocabulary files.
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lt2::test {

inline std::string base64(const std::string& bytes) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k)
      text += i + k > bytes.size() ? '=' : digits[group >> (18 - 6 * static_cast<int>(k)) & 63];
  }
  return text;
}

inline std::string rank_line(const std::string& bytes, int64_t rank) {
  return fmt::format("{} {}\n", base64(bytes), rank);
}

/// All single bytes, then these.
inline std::string rank_file(const std::vector<std::string>& tokens) {
  std::string file;
  for (int byte = 0; byte < 256; ++byte) file += rank_line(std::string(1, static_cast<char>(byte)), byte);
  for (size_t i = 0; i < tokens.size(); ++i) file += rank_line(tokens[i], static_cast<int64_t>(256 + i));
  return file;
}

}  // namespace lt2::test
