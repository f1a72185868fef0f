#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "base/error.h"

namespace lt2 {

std::string human_bytes(double bytes) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  // 1023.95 of a unit would print as 1024.0.
  while (std::abs(bytes) >= (unit == 0 ? 1024 : 1023.95) && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string human_count(double count) {
  static constexpr std::array kUnits = {"", "K", "M", "B", "T"};
  size_t unit = 0;
  while (std::abs(count) >= 999.5 && unit + 1 < kUnits.size()) {
    count /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.0f}", count);
  // Three digits that matter, chosen after rounding: 9.996 prints as 10.0.
  const double size = std::abs(count);
  return fmt::format("{:.{}f}{}", count, size < 9.995 ? 2 : size < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string human_duration(double seconds) {
  if (std::abs(seconds) < 59.95 || !std::isfinite(seconds)) return fmt::format("{:.1f} s", seconds);
  const char* sign = seconds < 0 ? "-" : "";
  const int64_t total = std::llround(std::min(std::abs(seconds), 1e15));
  const int64_t hours = total / 3600, minutes = total / 60 % 60;
  if (hours == 0) return fmt::format("{}{}:{:02}", sign, minutes, total % 60);
  return fmt::format("{}{}:{:02}:{:02}", sign, hours, minutes, total % 60);
}

std::optional<int64_t> amount_from_text(const std::string& text) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc()) return std::nullopt;
  std::string unit(stop, end);
  double scale = 1;
  if (!unit.empty()) {
    const bool decimal = unit.size() > 1 && unit.back() == 'B';
    if (decimal) unit.pop_back();
    constexpr std::string_view kUnits = "KMGT";
    const auto at = unit == "k" && !decimal ? 0 : unit.size() == 1 ? kUnits.find(unit.front()) : std::string_view::npos;
    if (at == std::string_view::npos && unit != "B") return std::nullopt;
    if (at != std::string_view::npos) scale = std::pow(decimal ? 1000.0 : 1024.0, 1 + static_cast<double>(at));
  }
  const double amount = number * scale;
  if (amount >= 1e18 || (scale == 1 && amount != std::floor(amount))) return std::nullopt;
  return static_cast<int64_t>(amount);
}

std::string amount_text(int64_t amount) {
  static constexpr std::array kBinary = {"k", "M", "G", "T"}, kDecimal = {"KB", "MB", "GB", "TB"};
  const auto said = [&](int64_t base, const auto& units, size_t least) -> std::string {
    size_t unit = 0;
    int64_t rest = amount;
    for (; rest > 0 && unit < units.size() && rest % base == 0; ++unit) rest /= base;
    return unit < least ? "" : std::to_string(rest) + units[unit - 1];
  };
  // 3000 stays 3000: only millions and more are said in decimal units.
  const auto binary = said(1024, kBinary, 1);
  const auto text = binary.empty() ? said(1000, kDecimal, 2) : binary;
  return text.empty() ? std::to_string(amount) : text;
}

}  // namespace lt2
