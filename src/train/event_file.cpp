#include "train/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>
#include <limits>

#include "base/error.h"
#include "base/files.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "events.out.tfevents.";

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0u);
    table[i] = c;
  }
  return table;
}

template <typename Unsigned>
void put_little_endian(std::string& out, Unsigned value) {
  for (size_t i = 0; i < sizeof(Unsigned); ++i) out += static_cast<char>(value >> (8 * i));
}

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t c = crc32c(bytes);
  return ((c >> 15) | (c << 17)) + 0xa282ead8u;
}

// --- protocol buffers: a field is a key (number << 3 | type), then a varint, 8 bytes, a length and bytes, or 4 bytes
// ---

enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void put_key(std::string& out, int field, WireType type) { put_varint(out, static_cast<uint64_t>(field) << 3 | type); }
void put_number(std::string& out, int field, int64_t value) {
  put_key(out, field, kVarint);
  put_varint(out, static_cast<uint64_t>(value));
}
void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_double(std::string& out, int field, double value) {
  put_key(out, field, kFixed64);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  put_little_endian(out, bits);
}
void put_float(std::string& out, int field, float value) {
  put_key(out, field, kFixed32);
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  put_little_endian(out, bits);
}

/// The fields that every event begins with. A step of 0 is the default and not written.
std::string begin_event(double wall_time, int64_t step) {
  std::string event;
  put_double(event, 1, wall_time);
  if (step != 0) put_number(event, 2, step);
  return event;
}

double wall_time_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// The seconds in an event file's name, -1 if it is none.
int64_t seconds_of(const std::string& name) {
  constexpr size_t kDigits = 10;
  if (!name.starts_with(kPrefix) || name.size() <= kPrefix.size() + kDigits) return -1;
  const auto digits = name.substr(kPrefix.size(), kDigits);
  const bool number = std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  return number && name[kPrefix.size() + kDigits] == '.' ? std::stoll(digits) : -1;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  std::string text = name.data();
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = crc_table();
  uint32_t c = ~0u;
  for (const char byte : bytes) c = (c >> 8) ^ kTable[(c ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~c;
}

std::string event_record(std::string_view data) {
  std::string out;
  put_little_endian(out, static_cast<uint64_t>(data.size()));
  put_little_endian(out, masked_crc(out));
  out += data;
  put_little_endian(out, masked_crc(data));
  return out;
}

std::string version_event(double wall_time) {
  std::string event = begin_event(wall_time, 0);
  put_bytes(event, 3, "brain.Event:2");
  return event;
}

std::string start_event(double wall_time, int64_t step) {
  std::string event = begin_event(wall_time, step), session;
  put_number(session, 1, 1);
  put_bytes(event, 7, session);
  return event;
}

std::string scalars_event(double wall_time, int64_t step, const Scalars& scalars) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    std::string entry;
    put_bytes(entry, 1, tag);
    put_float(entry, 2, static_cast<float>(std::isfinite(value) ? std::clamp(value, -kLargest, kLargest) : value));
    put_bytes(summary, 1, entry);
  }
  std::string event = begin_event(wall_time, step);
  put_bytes(event, 5, summary);
  return event;
}

EventFile::EventFile(const fs::path& folder, int64_t resumed_step) {
  make_folders(folder, "the folder of the event files");
  // TensorBoard reads files in the order of their names. So a new name sorts after all others, even when two files
  // begin in the same second or the clock was set back.
  int64_t seconds = static_cast<int64_t>(std::time(nullptr));
  for (const auto& entry : fs::directory_iterator(folder)) {
    seconds = std::max(seconds, seconds_of(entry.path().filename().string()) + 1);
  }
  path_ = folder / fmt::format("{}{:010}.{}.lt2.0", kPrefix, seconds, host_name());
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  LT2_CHECK(descriptor_ >= 0, "{}: cannot create it: {}", path_.string(), std::strerror(errno));
  const double now = wall_time_now();
  append(event_record(version_event(now)) + event_record(start_event(now, resumed_step + 1)));
}

EventFile::~EventFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void EventFile::append(const std::string& records) {
  for (size_t done = 0; done < records.size();) {
    const auto written = ::write(descriptor_, records.data() + done, records.size() - done);
    if (written < 0 && errno == EINTR) continue;
    LT2_CHECK(written > 0, "{}: cannot append to it: {}", path_.string(), std::strerror(errno));
    done += static_cast<size_t>(written);
  }
}

void EventFile::write(int64_t step, const Scalars& scalars) {
  append(event_record(scalars_event(wall_time_now(), step, scalars)));
}

}  // namespace lt2
