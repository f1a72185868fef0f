#pragma once
// Numbers for people: bytes, counts, durations.
#include <cstdint>
#include <string>

namespace lt2 {

/// 1536 -> "1.5 KiB"; exact below 1 KiB ("512 B").
std::string human_bytes(double bytes);
/// 1234567 -> "1.23M"; 999 -> "999".
std::string human_count(double count);
/// 3725 -> "1:02:05"; 65 -> "1:05"; 4.2 -> "4.2 s".
std::string human_duration(double seconds);

}  // namespace lt2
