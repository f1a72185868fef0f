#pragma once
// Numbers for people and from them: bytes, counts, durations.
#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>

namespace lt2 {

/// 1536 -> "1.5 KiB"; exact below 1 KiB ("512 B").
std::string human_bytes(double bytes);
std::string human_bytes(std::integral auto bytes) { return human_bytes(static_cast<double>(bytes)); }
/// 1234567 -> "1.23M"; 999 -> "999".
std::string human_count(double count);
/// 3725 -> "1:02:05"; 65 -> "1:05"; 4.2 -> "4.2 s".
std::string human_duration(double seconds);

/// "4096", "1k", "1.5G" (k or K, M, G, T: powers of 1024), "500MB", "5GB" (KB, MB, GB, TB: powers of 1000), "8B" -> a
/// whole number, rounded down where a unit stands. nullopt for anything else, negative numbers included.
std::optional<int64_t> amount_from_text(const std::string& text);
/// The inverse, as short as it can be said exactly: 2147483648 -> "2G", 5000000000 -> "5GB", 1000 -> "1000".
std::string amount_text(int64_t amount);

inline double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace lt2
