#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdlib>
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

uint64_t memory_from_text(const std::string& text, const std::string& name) {
  constexpr std::string_view kUnits = "KMGT";
  char* end = nullptr;
  const double number = text.empty() || text.front() < '0' || text.front() > '9' ? -1 : std::strtod(text.c_str(), &end);
  std::string_view unit = end ? end : "?";
  double bytes = number;
  if (!unit.empty() && kUnits.find(unit.front()) != std::string_view::npos) {
    bytes *= std::exp2(10 * (1 + static_cast<double>(kUnits.find(unit.front()))));
    unit.remove_prefix(1);
  }
  LT2_CHECK(unit.empty() && number > 0 && bytes < 1e18, "{} {}: expected a size such as 2G, 1.5G or 200M", name, text);
  return static_cast<uint64_t>(bytes);
}

}  // namespace lt2
