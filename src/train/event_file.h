#pragma once
// TensorBoard's event files: a log of scalars that `tensorboard --logdir` shows while it grows.
//
// A file is a sequence of records, little-endian:
//     uint64 length | uint32 mask(crc32c(length)) | data | uint32 mask(crc32c(data))
// with mask(c) = rotate_right(c, 15) + 0xa282ead8. Data is a protocol buffer, tensorflow.Event:
//     1 double wall_time, 2 int64 step, 3 string file_version | 5 Summary summary | 7 SessionLog session_log
//     Summary: repeated 1 Value { 1 string tag, 2 float simple_value };  SessionLog: 1 enum status (1: START)
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lt2 {

/// CRC-32C (Castagnoli).
uint32_t crc32c(std::string_view bytes);

/// `data` as one record of the file.
std::string event_record(std::string_view data);

using Scalars = std::vector<std::pair<std::string, double>>;  // (tag, value)

/// Encoded events: the first of a file, the start of a session (readers drop what earlier files say about `step` and
/// later steps), one step's values as fp32. Wall times are seconds since 1970.
std::string version_event(double wall_time);
std::string start_event(double wall_time, int64_t step);
std::string scalars_event(double wall_time, int64_t step, const Scalars& scalars);

class EventFile {
 public:
  /// Starts a new file in `folder` (made if missing), named so that TensorBoard reads it after the existing ones. It
  /// supersedes their points of steps after `resumed_step`, which a run left that died after its last checkpoint.
  /// Throws lt2::Error.
  EventFile(const std::filesystem::path& folder, int64_t resumed_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  /// Appends one event, which other processes can read at once.
  void write(int64_t step, const Scalars& scalars);

  const std::filesystem::path& path() const { return path_; }

 private:
  void append(const std::string& records);

  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace lt2
