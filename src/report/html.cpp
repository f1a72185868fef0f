#include "report/html.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>

namespace lt2 {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// Length of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none.
size_t sequence_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  // The second byte's range rules out overlong forms, surrogates and code points above U+10FFFF.
  const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

std::string with_commas(std::string digits) {
  const size_t start = digits.starts_with('-') ? 1 : 0;
  for (size_t end = digits.size(); end > start + 3;) {
    end -= 3;
    digits.insert(end, 1, ',');
  }
  return digits;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t length = sequence_length(text.substr(i));
    out += length ? text.substr(i, length) : kReplacement;
    i += length ? length : 1;
  }
  return out;
}

std::string escape_html(std::string_view raw) {
  const std::string text = valid_utf8(raw);
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto code = static_cast<uint8_t>(c);
    if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\n':
      case '\t':
        out += c;
        break;
      default:
        if (code < 0x20) {
          out += fmt::format("&#x{:x};", 0x2400 + code);
        } else if (code == 0x7F) {
          out += "&#x2421;";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string format_number(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-3)) return fmt::format("{:.2e}", value);
  if (size >= 999.5) return with_commas(fmt::format("{:.0f}", value));
  if (size >= 99.95) return fmt::format("{:.0f}", value);
  if (size >= 9.995) return fmt::format("{:.1f}", value);
  if (size >= 0.9995 || size == 0) return fmt::format("{:.2f}", value);
  return fmt::format("{:.{}f}", value, size >= 0.09995 ? 3 : size >= 0.009995 ? 4 : 5);
}

std::string format_tick(double value) {
  if (!std::isfinite(value)) return "–";
  if (value == 0) return "0";
  if (std::abs(value) >= 1000 && std::abs(value) < 1e15 && value == std::round(value)) {
    return with_commas(fmt::format("{:.0f}", value));
  }
  return fmt::format("{:.6g}", value);
}

std::string format_context(double tokens) {
  if (std::isfinite(tokens) && tokens >= 1024 && std::fmod(tokens, 1024) == 0) return format_tick(tokens / 1024) + "k";
  return format_tick(tokens);
}

std::string format_share(double share) {
  if (!std::isfinite(share)) return "–";
  return share < 0.0995 ? fmt::format("{:.2g} %", 100 * share) : format_tick(std::round(100 * share)) + " %";
}

}  // namespace lt2
