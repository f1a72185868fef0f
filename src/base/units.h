#pragma once
// Numbers for people and from them: bytes, counts, durations.
#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>

namespace lt2 {

/// 1536 -> "1.5 KiB"; exact below 1 KiB ("512 B").
std::string human_bytes(double bytes);
std::string human_bytes(std::integral auto bytes) { return human_bytes(static_cast<double>(bytes)); }
/// 1234567 -> "1.23M"; 999 -> "999".
std::string human_count(double count);
/// 3725 -> "1:02:05"; 65 -> "1:05"; 4.2 -> "4.2 s".
std::string human_duration(double seconds);

/// "2G", "1.5G", "200M", "64K" or bytes. Throws lt2::Error that begins with `name`.
uint64_t memory_from_text(const std::string& text, const std::string& name);

inline double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace lt2
