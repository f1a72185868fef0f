#include "base/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace lt2 {
namespace {

struct Lead {
  size_t bytes = 0;  // of the whole character; 0: no character starts with this byte
  uint8_t low = 0x80,
          high = 0xbf;  // allowed second byte: excludes overlong forms, surrogates and what lies above U+10FFFF
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xc2) return {};
  if (byte < 0xe0) return {2};
  if (byte < 0xf0)
    return {3, static_cast<uint8_t>(byte == 0xe0 ? 0xa0 : 0x80), static_cast<uint8_t>(byte == 0xed ? 0x9f : 0xbf)};
  if (byte < 0xf5)
    return {4, static_cast<uint8_t>(byte == 0xf0 ? 0x90 : 0x80), static_cast<uint8_t>(byte == 0xf4 ? 0x8f : 0xbf)};
  return {};
}

// Length of the ASCII run that starts at `at`, eight bytes at a time.
size_t ascii_run(std::string_view text, size_t at) {
  size_t end = at;
  for (uint64_t word = 0; end + sizeof word <= text.size(); end += sizeof word) {
    std::memcpy(&word, text.data() + end, sizeof word);
    if (word & 0x8080808080808080) break;
  }
  while (end < text.size() && static_cast<uint8_t>(text[end]) < 0x80) ++end;
  return end - at;
}

// Calls invalid(at, bytes) for every invalid unit and valid(at, bytes) for the runs between them.
template <typename Valid, typename Invalid>
void for_each_run(std::string_view text, Valid&& valid, Invalid&& invalid) {
  size_t begin = 0, at = 0;
  while (at < text.size()) {
    at += ascii_run(text, at);
    if (at == text.size()) break;
    const Utf8Unit unit = utf8_unit(text, at);
    if (!unit.valid) {
      if (begin < at) valid(begin, at - begin);
      invalid(at, unit.bytes);
      begin = at + unit.bytes;
    }
    at += unit.bytes;
  }
  if (begin < at) valid(begin, at - begin);
}

}  // namespace

Utf8Unit utf8_unit(std::string_view text, size_t at) {
  const Lead lead = lead_of(static_cast<uint8_t>(text[at]));
  if (lead.bytes == 0) return {1, false, false};
  uint8_t low = lead.low, high = lead.high;
  for (size_t i = 1; i < lead.bytes; ++i, low = 0x80, high = 0xbf) {
    if (at + i == text.size()) return {i, false, true};
    const auto byte = static_cast<uint8_t>(text[at + i]);
    if (byte < low || byte > high) return {i, false, false};
  }
  return {lead.bytes, true, false};
}

int64_t count_invalid_utf8(std::string_view text) {
  int64_t count = 0;
  for_each_run(
      text, [](size_t, size_t) {}, [&](size_t, size_t) { ++count; });
  return count;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_run(
      text, [&](size_t at, size_t bytes) { out.append(text, at, bytes); },
      [&](size_t, size_t) { out += "\xef\xbf\xbd"; });
  return out;
}

std::string escape_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_run(
      text, [&](size_t at, size_t bytes) { out.append(text, at, bytes); },
      [&](size_t at, size_t bytes) {
        for (const char byte : text.substr(at, bytes)) out += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
      });
  return out;
}

size_t complete_utf8_prefix(std::string_view text) {
  // A cut-off character has at most three bytes; its lead is the last byte that is no continuation.
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const size_t at = text.size() - back;
    if ((static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) continue;
    const Utf8Unit unit = utf8_unit(text, at);
    return unit.cut_off && unit.bytes == back ? at : text.size();
  }
  return text.size();
}

size_t utf8_border_from(std::string_view text, size_t at) {
  // Four continuation bytes in a row are no character: a border in broken text is as good as any.
  for (size_t i = at; i < std::min(at + 4, text.size()); ++i)
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) return i;
  return std::min(at, text.size());
}

void append_utf8(std::string& text, uint32_t code_point) {
  const auto continuation = [&](int shift) { text += static_cast<char>(0x80 | (code_point >> shift & 0x3f)); };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xc0 | code_point >> 6);
    continuation(0);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xe0 | code_point >> 12);
    continuation(6);
    continuation(0);
  } else {
    text += static_cast<char>(0xf0 | code_point >> 18);
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

}  // namespace lt2
